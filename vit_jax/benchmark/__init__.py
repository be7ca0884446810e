"""Pace and memory over models and input sizes: timed, or by the TPU compiler.

record.py says what is found; timed.py and compiled.py find it; plot.py draws
Figure 12 of the paper.
"""
