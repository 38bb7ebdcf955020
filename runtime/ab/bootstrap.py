"""Intervals: frames are drawn again and again, with all that both variants found in them.

The paired percentile bootstrap (Efron 1979) of ratios of sums.  Neighbouring frames of a video are
alike, so that blocks of them are drawn, not single ones (Künsch 1989): otherwise intervals would
be far too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
AT_ONCE = 1 << 21  # elements drawn at a time: 16 MiB
FEWEST = 8  # blocks: fewer say nothing of how they scatter


@dataclass(frozen=True)
class Interval:
    """A figure with its interval of LEVEL; NaN where there is nothing to divide by."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside: a difference is shown."""
        return self.low > 0 or self.high < 0


def blocks(sums: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Add up each `size` rows that follow one another; (N, K) -> (ceil(N / size), K)."""
    if size <= 1 or not len(sums):
        return sums
    return np.add.reduceat(sums, np.arange(0, len(sums), size), axis=0)


def resampled(
    sums: NDArray[np.float64], seed: int = 0, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Column sums of `resamples` draws of as many rows, with repetition: (resamples, K)."""
    rng = np.random.default_rng(seed)
    rows, columns = sums.shape
    result = np.empty((resamples, columns))
    step = max(1, AT_ONCE // max(1, rows))
    for begin in range(0, resamples, step):
        count = min(step, resamples - begin)
        weights = rng.multinomial(rows, np.full(rows, 1 / rows), count)
        result[begin : begin + count] = weights @ sums
    return result


def ratio(
    total: NDArray[np.float64],
    draws: NDArray[np.float64],
    above: NDArray[np.float64],
    below: NDArray[np.float64],
) -> Interval:
    """Interval of Σ above·sums / Σ below·sums, above and below being weights of the columns."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float((total @ above) / (total @ below))
        return interval(value, (draws @ above) / (draws @ below))


def interval(value: float, draws: NDArray[np.float64]) -> Interval:
    """A figure with the interval that its draws (N,) span; what is not finite says nothing."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return Interval(value, float("nan"), float("nan"))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
