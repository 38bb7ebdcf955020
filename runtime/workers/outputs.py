"""A worker's raw outputs in shared memory, for whoever wants to see them (recordings).

The daemon makes the memory, as large as the specs say, and seals its size: a worker can write into
it whatever it likes, but not pull it from under the daemon.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess.tensor import TensorSpec

ALIGN = 64
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Outputs:
    """One lane's memory for the outputs of one frame."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = tuple(specs)
        size = size_of(specs)
        self.fd = os.memfd_create("npud-outputs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS)
        self._memory = mmap.mmap(self.fd, size)

    def arrays(self) -> list[NDArray[Any]]:
        """The outputs as they lie there, C-contiguous; the next frame overwrites them."""
        return arrays(self._memory, self._specs)

    def close(self) -> None:
        """Give up the descriptor; the memory goes with the last array that lies in it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def size_of(specs: Sequence[TensorSpec]) -> int:
    """Bytes that outputs like these take, each aligned."""
    return max(sum(_bytes(spec) for spec in specs), mmap.PAGESIZE)


def arrays(memory: mmap.mmap, specs: Sequence[TensorSpec]) -> list[NDArray[Any]]:
    """Arrays in a memory of size_of(specs), one after the other."""
    found: list[NDArray[Any]] = []
    offset = 0
    for spec in specs:
        count = int(np.prod(spec.shape))
        found.append(np.frombuffer(memory, spec.dtype, count, offset).reshape(spec.shape))
        offset += _bytes(spec)
    return found


def _bytes(spec: TensorSpec) -> int:
    size = int(np.prod(spec.shape)) * spec.dtype.itemsize
    return (size + ALIGN - 1) // ALIGN * ALIGN
