"""Pace and memory over models and input sizes: timed, or by the TPU compiler.

record.py defines the results; timed.py and compiled.py produce them; plot.py
draws Figure 12 of the paper.
"""
