"""Split: variants on different frames of the same camera; means are compared, not pairs."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from runtime.ab import bootstrap
from runtime.ab.bootstrap import Interval
from runtime.ab.pairs import Found
from runtime.ab.summary import KEPT

COLUMNS = ("frames", "boxes", "score", "preprocess", "inference", "postprocess", "cpu", "bytes")
# measure: (what, per what)
RATIOS = {
    "boxes_per_frame": ("boxes", "frames"),
    "mean_score": ("score", "boxes"),
    "preprocess": ("preprocess", "frames"),
    "inference": ("inference", "frames"),
    "postprocess": ("postprocess", "frames"),
    "cpu": ("cpu", "frames"),
    "moved": ("bytes", "frames"),
}
JUDGED = {
    "boxes_per_frame": "b finds {size:.3g} boxes a frame {more}",
    "mean_score": "b's scores are {way} by {size:.3g} on average",
}


class SplitSummary:
    """Frames of both variants, the latest ones; differences of means with intervals."""

    def __init__(self, block: int = 1, kept: int = KEPT) -> None:
        self._block = block
        self._rows: dict[str, deque[NDArray[np.float64]]] = {
            variant: deque(maxlen=kept) for variant in "ab"
        }

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def add(self, variant: str, found: Found) -> None:
        """Count a frame of "a" or "b"."""
        boxes, timing = found.detections, found.timing
        stages = (timing.preprocess, timing.inference, timing.postprocess, found.cpu_us)
        row = [1, len(boxes), float(boxes.scores.sum()), *stages, found.moved_bytes / 1e6]
        self._rows[variant].append(np.array(row, np.float64))

    def enough(self) -> bool:
        """Whether there are blocks enough of both."""
        return all(len(r) >= bootstrap.FEWEST * self._block for r in self._rows.values())

    def intervals(self, seed: int = 0, resamples: int = bootstrap.RESAMPLES) -> dict[str, Interval]:
        """B less a, of each of RATIOS; both are drawn on their own."""
        if not all(self._rows.values()):
            return {}
        totals, draws = [], []
        for number, variant in enumerate("ab"):
            sums = bootstrap.blocks(np.array(self._rows[variant]), self._block)
            totals.append(sums.sum(axis=0))
            draws.append(bootstrap.resampled(sums, 2 * seed + number, resamples))
        found = {}
        for name, (above, below) in RATIOS.items():
            i, j = COLUMNS.index(above), COLUMNS.index(below)
            with np.errstate(invalid="ignore", divide="ignore"):
                value = float(totals[1][i] / totals[1][j] - totals[0][i] / totals[0][j])
                spread = draws[1][:, i] / draws[1][:, j] - draws[0][:, i] / draws[0][:, j]
            if np.isfinite(spread).any():
                found[name] = bootstrap.interval(value, spread)
        return found

    def spread(self) -> dict[str, float]:
        """Nothing: frames are not paired."""
        return {}

    def classes(self) -> dict[int, dict[str, int]]:
        """Nothing: frames are not paired."""
        return {}

    def verdict(self, intervals: dict[str, Interval]) -> list[str]:
        """What is shown, in words."""
        nothing = f"no difference shown yet, n = {len(self)} frames"
        if not self.enough():
            return [f"{nothing}; {bootstrap.FEWEST * self._block} or more of each are needed"]
        shown = []
        for name, text in JUDGED.items():
            one = intervals.get(name)
            if one and one.excludes_zero:
                up = one.value > 0
                words = {"more": "more" if up else "fewer", "way": "higher" if up else "lower"}
                shown.append(text.format(size=abs(one.value), **words))
        return shown or [nothing]
