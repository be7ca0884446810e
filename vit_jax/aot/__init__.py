"""What the TPU compiler says about a run before anybody pays for a chip.

libtpu compiles for any slice on a CPU. Everything here is a compiler's
estimate, or arithmetic on one; nothing was timed on a chip.
"""
