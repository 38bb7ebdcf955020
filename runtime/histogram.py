"""Histogram: how many durations were at most so long, as Prometheus counts them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

# seconds: from the post-processing of a quiet frame to a frame that is of no use any more
BOUNDS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
_BOUNDS_US = tuple(round(bound * 1e6) for bound in BOUNDS_S)


@dataclass(frozen=True, slots=True)
class Counted:
    """A histogram at one moment: `at_most` counts by BOUNDS_S, and then all; the sum of all."""

    at_most: tuple[int, ...]
    sum_s: float


class Histogram:
    """Counts durations; not for several threads at once."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_us = 0

    def add(self, duration_us: int) -> None:
        """Count one."""
        self._counts[bisect_left(_BOUNDS_US, duration_us)] += 1
        self._sum_us += duration_us

    def read(self) -> Counted:
        """What has been counted so far."""
        return Counted(tuple(accumulate(self._counts)), self._sum_us / 1e6)
