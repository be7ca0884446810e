"""What a run would cost on TPUs, from compiling it for them on a CPU.

libtpu compiles for any slice on any machine. Everything here is an estimate of
the compiler, or arithmetic on one; nothing was timed on a chip.
"""
