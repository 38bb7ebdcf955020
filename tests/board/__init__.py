"""An emulated aarch64 board: Debian's CPython, PyPI's aarch64 wheels, our kernels, qemu-user.

`python -m tests.board` runs the tests of the post-processing on it (see `--help`).  It proves that
the kernels are right there; never how fast an NPU is.
"""
