"""Times of several contenders, taken in turns so that a slow moment of the machine hits all.

CPU time of the process, not the clock on the wall: what else runs on the machine takes turns with
us, and is not our time.  All contenders run on one thread, so on an idle machine both are equal.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

SAMPLE_S = 0.002  # a sample is as many calls as take about this long
MAX_CALLS = 1000


@dataclass(frozen=True)
class Times:
    """Seconds per call: median, fastest and slowest of the samples."""

    median: float
    low: float
    high: float


def interleaved(
    contenders: dict[str, Callable[[], Any]], rounds: int = 25, budget_s: float = 3.0
) -> dict[str, Times]:
    """Measure all contenders in turns, up to `rounds` times, at least thrice, or `budget_s`."""
    calls = {name: _calls_per_sample(function) for name, function in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + budget_s
    gc.disable()
    try:
        for done in range(rounds):
            for name, function in contenders.items():
                samples[name].append(_sample(function, calls[name]))
            if done >= 2 and time.perf_counter() > end:
                break
    finally:
        gc.enable()
    return {name: Times(median(s), min(s), max(s)) for name, s in samples.items()}


def _calls_per_sample(function: Callable[[], Any]) -> int:
    function()  # warm up
    once = _sample(function, 1)
    return max(1, min(MAX_CALLS, int(SAMPLE_S / max(once, 1e-9))))


def _sample(function: Callable[[], Any], calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - start) / calls
