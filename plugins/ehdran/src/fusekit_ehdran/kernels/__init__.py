"""Triton kernels of EH-DRAN: a module each, with its launcher and its plain torch twin, the reference of its tests.

The modules of kernels import triton and are imported only where a kernel runs (`fusekit_ehdran.kernels.form`). None of
them knows `fusekit_ehdran.kernels.check`, which checks, times and compiles them.
"""
