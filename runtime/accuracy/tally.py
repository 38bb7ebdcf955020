"""One output of two models, element against element, over many pictures.

A is the reference: an element of B mismatches where |b - a| > atol + rtol·|a|, as
numpy.testing.assert_allclose counts; NaN and infinity match their like.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEAD = (
    "output", "cosine", "mismatched", "mean |b-a|", "max |b-a|", "max |b-a|/|a|",
    "highest A", "highest B",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What counts as agreement.

    rtol and atol are of an element; max_mismatched and min_cosine of each output, None: any;
    min_matched is the share of detections of the side that has more; max_score_shift the mean
    absolute difference of matched scores.
    """

    rtol: float = 1e-3
    atol: float = 1e-3
    max_mismatched: float | None = None
    min_cosine: float | None = None
    min_matched: float = 0.95
    max_score_shift: float = 0.05


@dataclass
class Tally:
    """One output of both, over all pictures so far."""

    what: str
    count: int = 0
    mismatched: int = 0
    sum_absolute: float = 0.0
    max_absolute: float = 0.0
    max_relative: float = 0.0
    dot: float = 0.0
    squares_a: float = 0.0
    squares_b: float = 0.0
    worst_cosine: float = 1.0
    highest_a: float = -math.inf
    highest_b: float = -math.inf

    def add(self, a: NDArray[Any], b: NDArray[Any], limits: Limits) -> None:
        """Take in one picture's values, of equal shape."""
        x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
        close = np.isclose(y, x, limits.rtol, limits.atol, equal_nan=True)
        self.count += x.size
        self.mismatched += int((~close).sum())
        both = np.isfinite(x) & np.isfinite(y)
        x, y = x[both], y[both]
        self.highest_a = max(self.highest_a, float(x.max(initial=-math.inf)))
        self.highest_b = max(self.highest_b, float(y.max(initial=-math.inf)))
        difference = np.abs(y - x)
        known = x != 0
        relative = difference[known] / np.abs(x[known])
        self.sum_absolute += float(difference.sum())
        self.max_absolute = max(self.max_absolute, float(difference.max(initial=0)))
        self.max_relative = max(self.max_relative, float(relative.max(initial=0)))
        sums = float(x @ y), float(x @ x), float(y @ y)
        self.dot, self.squares_a = self.dot + sums[0], self.squares_a + sums[1]
        self.squares_b += sums[2]
        self.worst_cosine = min(self.worst_cosine, _cosine(*sums))

    @property
    def cosine(self) -> float:
        """Cosine similarity over all pictures; 0 where one of both is all zero."""
        return _cosine(self.dot, self.squares_a, self.squares_b)

    @property
    def mean_absolute(self) -> float:
        """Mean of |b - a|."""
        return self.sum_absolute / self.count if self.count else 0.0

    @property
    def mismatched_share(self) -> float:
        """Share of the elements that mismatch."""
        return self.mismatched / self.count if self.count else 0.0

    def cells(self) -> tuple[str, ...]:
        """For a table under HEAD."""
        return (
            self.what,
            f"{self.cosine:.6f}",
            f"{self.mismatched} ({self.mismatched_share:.2%})",
            *(
                f"{value:.3g}"
                for value in (self.mean_absolute, self.max_absolute, self.max_relative)
            ),
            f"{self.highest_a:.4g}",
            f"{self.highest_b:.4g}",
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which knows no infinity."""
        return {
            "output": self.what,
            "elements": self.count,
            "cosine": self.cosine,
            "worst_cosine": self.worst_cosine,
            "mismatched": self.mismatched,
            "mean_absolute": self.mean_absolute,
            "max_absolute": self.max_absolute,
            "max_relative": self.max_relative,
            "highest_a": self.highest_a if math.isfinite(self.highest_a) else None,
            "highest_b": self.highest_b if math.isfinite(self.highest_b) else None,
        }


def _cosine(dot: float, squares_a: float, squares_b: float) -> float:
    if not squares_a or not squares_b:
        return 1.0 if squares_a == squares_b else 0.0
    return min(1.0, dot / math.sqrt(squares_a) / math.sqrt(squares_b))
