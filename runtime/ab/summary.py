"""Summary: all pairs of frames of two variants, their measures with intervals, and a verdict."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.comparison import COUNTS
from runtime.ab import bootstrap
from runtime.ab.bootstrap import Interval
from runtime.ab.pairs import SUMS, Pair

KEPT = 5000  # frames, the latest ones, over which a running comparison is summed up
VALUES = 200_000  # matched boxes whose differences are kept for distributions
DIFFERENCES = ("score_shifts", "ious", "shifts_px")
CLASSES = ("class_ids", "only_a", "only_b")  # of a Pair, in the order of COUNTS
NO_CLASS = np.empty(0, np.int32)
COLUMN = {name: number for number, name in enumerate(SUMS)}


@dataclass(frozen=True)
class Measure:
    """A difference of b from a: what it is called, a ratio of sums, what both directions mean."""

    name: str
    unit: str
    above: dict[str, float]
    below: dict[str, float]
    text: str  # with {value} and {interval}
    judged: bool = True  # a difference of what is detected, not of what it costs


MEASURES = (
    Measure("score_shift", "", {"score_shift": 1}, {"matched": 1},
            "b's scores are {way} by {size:.3g}"),
    Measure("boxes", "%", {"boxes_b": 100, "boxes_a": -100}, {"boxes_a": 1},
            "b finds {size:.3g} % {more} boxes"),
    Measure("only_a", "%", {"only_a": 100}, {"boxes_a": 1},
            "{size:.3g} % of a's boxes are missing in b"),
    Measure("only_b", "%", {"only_b": 100}, {"boxes_b": 1},
            "{size:.3g} % of b's boxes are not in a"),
    Measure("lost", "%", {"lost": 100}, {"boxes_a": 1},
            "{size:.3g} % of a's boxes fall below the threshold in b"),
    Measure("gained", "%", {"gained": 100}, {"boxes_b": 1},
            "{size:.3g} % of b's boxes are below the threshold in a"),
    Measure("shift_x", "px", {"shift_x": 1}, {"matched": 1},
            "b's boxes lie {size:.3g} px further {right}"),
    Measure("shift_y", "px", {"shift_y": 1}, {"matched": 1},
            "b's boxes lie {size:.3g} px further {down}"),
    Measure("preprocess", "µs", {"preprocess_b": 1, "preprocess_a": -1}, {"frames": 1},
            "b's pre-processing takes {size:.3g} µs {longer}", judged=False),
    Measure("inference", "µs", {"inference_b": 1, "inference_a": -1}, {"frames": 1},
            "b's inference takes {size:.3g} µs {longer}", judged=False),
    Measure("postprocess", "µs", {"postprocess_b": 1, "postprocess_a": -1}, {"frames": 1},
            "b's post-processing takes {size:.3g} µs {longer}", judged=False),
    Measure("cpu", "µs", {"cpu_b": 1, "cpu_a": -1}, {"frames": 1},
            "b takes {size:.3g} µs {more} CPU time a frame", judged=False),
    Measure("moved", "MB", {"bytes_b": 1e-6, "bytes_a": -1e-6}, {"frames": 1},
            "b moves {size:.3g} MB {more} a frame between CPU and NPU", judged=False),
)  # fmt: skip
MEAN = {name: {name: 1.0} for name in ("iou", "shift", "score_distance")}


def say(measure: Measure, interval: Interval) -> str:
    """The measure in words: "b's scores are lower by 0.0312 [0.0280, 0.0341]"."""
    up = interval.value > 0
    text = measure.text.format(
        size=abs(interval.value),
        way="higher" if up else "lower",
        more="more" if up else "fewer" if measure.name == "boxes" else "less",
        right="right" if up else "left",
        down="down" if up else "up",
        longer="longer" if up else "less",
    )
    low, high = sorted((abs(interval.low), abs(interval.high)))
    if low == high:
        return text
    return f"{text} [{low:.3g}, {high:.3g}]"


class Summary:
    """Pairs of frames, added one by one; the latest KEPT of them count."""

    def __init__(self, block: int = 1, kept: int = KEPT) -> None:
        self._block = block
        self._sums: deque[NDArray[np.float64]] = deque(maxlen=kept)
        self._values: dict[str, deque[NDArray[Any]]] = {
            name: deque(maxlen=kept) for name in (*DIFFERENCES, *CLASSES)
        }

    def __len__(self) -> int:
        return len(self._sums)

    def add(self, pair: Pair) -> None:
        """Count a frame."""
        self._sums.append(pair.sums)
        for name, values in self._values.items():
            values.append(getattr(pair, name))

    def total(self, name: str) -> float:
        """Sum of one of SUMS over all frames."""
        return float(sum(row[COLUMN[name]] for row in self._sums))

    def values(self, name: str) -> NDArray[Any]:
        """All score_shifts, ious or shifts_px of matched boxes."""
        kept = self._values[name]
        joined = np.concatenate(list(kept)) if kept else np.empty(0)
        return joined[-VALUES:]

    def spread(self) -> dict[str, float]:
        """p50, p95 and max of |score difference|, 1 - IoU and the distance of centres, px."""
        found: dict[str, float] = {}
        for what, name in (("score", "score_shifts"), ("iou", "ious"), ("shift", "shifts_px")):
            values = self.values(name).astype(np.float64)
            distances = 1 - values if what == "iou" else np.abs(values)
            if len(distances):
                marks = np.percentile(distances, [50, 95, 100]).tolist()
                found |= {f"{what}_{mark}": v for mark, v in zip(("p50", "p95", "max"), marks)}
        return found

    def classes(self) -> dict[int, dict[str, int]]:
        """How many boxes of each class are matched, only in a, only in b; most unmatched first."""
        kept = (np.concatenate([NO_CLASS, *self._values[name]]) for name in CLASSES)
        counts = [np.bincount(ids, minlength=1) for ids in kept]
        size = max(map(len, counts))
        table = np.stack([np.pad(one, (0, size - len(one))) for one in counts], 1)
        seen = np.flatnonzero(table.sum(axis=1)).tolist()
        seen.sort(key=lambda c: (-table[c, 1:].sum(), -table[c, 0], c))
        return {c: dict(zip(COUNTS, table[c].tolist())) for c in seen}

    def intervals(self, seed: int = 0, resamples: int = bootstrap.RESAMPLES) -> dict[str, Interval]:
        """Each measure, and the means of iou, shift and score_distance, with intervals."""
        if not self._sums:
            return {}
        sums = bootstrap.blocks(np.array(self._sums), self._block)
        total = sums.sum(axis=0)
        draws = bootstrap.resampled(sums, seed, resamples)
        wanted = {m.name: (m.above, m.below) for m in MEASURES}
        wanted |= {name: (above, {"matched": 1.0}) for name, above in MEAN.items()}
        return {
            name: bootstrap.ratio(total, draws, _weights(above), _weights(below))
            for name, (above, below) in wanted.items()
        }

    def enough(self) -> bool:
        """Whether there are blocks enough to say anything."""
        return len(self._sums) >= bootstrap.FEWEST * self._block

    def verdict(self, intervals: dict[str, Interval]) -> list[str]:
        """What is shown, in words; one line "no difference shown yet" where nothing is."""
        nothing = f"no difference shown yet, n = {len(self)} frames"
        if not self.enough():
            return [f"{nothing}; {bootstrap.FEWEST * self._block} or more are needed"]
        shown = [
            say(m, intervals[m.name])
            for m in MEASURES
            if m.judged and intervals[m.name].excludes_zero
        ]
        return shown or [nothing]

    def costs(self, intervals: dict[str, Interval]) -> list[str]:
        """Differences of time and of bytes moved that are shown, in words."""
        if not self.enough():
            return []
        return [
            say(m, intervals[m.name])
            for m in MEASURES
            if not m.judged and intervals[m.name].excludes_zero
        ]


def _weights(columns: dict[str, float]) -> NDArray[np.float64]:
    weights = np.zeros(len(SUMS))
    for name, weight in columns.items():
        weights[COLUMN[name]] = weight
    return weights
