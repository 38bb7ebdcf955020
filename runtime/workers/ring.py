"""Frames in shared memory, so that worker processes read the pixels where the camera wrote them.

The memory is anonymous (memfd): it has no name, and is gone with the last process that maps it,
however that process ends.  Who holds a slot is counted here, in the daemon: a worker that dies
holds nothing.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class Slot:
    """One frame's place in a ring; counted, and free again when everybody has released it."""

    ring: Ring
    index: int

    @property
    def offset(self) -> int:
        """Where the slot begins in the ring's memory, in bytes."""
        return self.index * self.ring.slot_bytes

    def view(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The slot's memory as a uint8 array of this shape."""
        return view(self.ring.memory, self.offset, shape)

    def retain(self) -> None:
        """Hold the slot once more, for a second reader."""
        self.ring.count(self.index, 1)

    def release(self) -> None:
        """Let go of the slot."""
        self.ring.count(self.index, -1)


class Ring:
    """A number of slots of one size, for the frames of one camera."""

    def __init__(self, slot_bytes: int, slots: int) -> None:
        self.number, self.slots = next(_NUMBERS), slots
        page = mmap.PAGESIZE
        self.slot_bytes = (slot_bytes + page - 1) // page * page
        self.fd = os.memfd_create("npud-frames")
        os.ftruncate(self.fd, self.slot_bytes * slots)
        self.memory = mmap.mmap(self.fd, self.slot_bytes * slots)
        self._holders = [0] * slots
        self._closing = False
        self._changed = threading.Condition()

    def acquire(self, timeout_s: float = 0.0) -> Slot | None:
        """Hold a free slot; None where all are held for as long as the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: 0 in self._holders, timeout_s)
            if 0 not in self._holders or self._closing:
                return None
            index = self._holders.index(0)
            self._holders[index] = 1
            return Slot(self, index)

    def count(self, index: int, change: int) -> None:
        """Add to a slot's number of holders."""
        with self._changed:
            held = self._holders[index] + change
            if held < 0 or (change > 0 and held == change):
                raise ValueError(f"slot {index} is not held")
            self._holders[index] = held
            self._changed.notify_all()
            self._give_up()

    def held(self) -> int:
        """Number of slots that somebody holds."""
        with self._changed:
            return len(self._holders) - self._holders.count(0)

    def close(self) -> None:
        """Give up the descriptor once no slot is held: a frame in work may still have to be shared.

        The memory goes with the last array that lies in it.
        """
        with self._changed:
            self._closing = True
            self._give_up()

    def _give_up(self) -> None:
        if self._closing and self.fd >= 0 and not any(self._holders):
            os.close(self.fd)
            self.fd = -1


def view(memory: mmap.mmap, offset: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Part of a mapped memory as a uint8 array; raises ValueError where it does not fit."""
    size = math.prod(shape)
    if offset < 0 or offset + size > len(memory):
        raise ValueError(f"{size} bytes from {offset} do not lie in a memory of {len(memory)}")
    return np.frombuffer(memory, np.uint8, size, offset).reshape(shape)
