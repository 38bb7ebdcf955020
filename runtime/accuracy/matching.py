"""Two sets of detections of one picture, box against box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections

IOU = 0.5  # PASCAL VOC's, and COCO's AP50
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Which detection of `a` is which of `b`.

    `a` and `b` are (M,) indices of the pairs, ascending in `a`; `iou` (M,) float64 their overlap.
    `only_a` and `only_b` are the indices of those without a partner, ascending.
    """

    a: Indices
    b: Indices
    iou: NDArray[np.float64]
    only_a: Indices
    only_b: Indices

    def __len__(self) -> int:
        return len(self.a)


def match(a: Detections, b: Detections, iou: float = IOU) -> Matches:
    """Pair detections of the same class with an IoU of at least `iou`, each at most once.

    Greedy: the pair with the best IoU first; of equal ones that with the lower index in `a`, then
    in `b`.  Boxes that are not finite, or empty, have no partner.
    """
    first, second = np.nonzero(a.class_ids[:, None] == b.class_ids[None, :])
    overlap = iou_of(a.boxes[first], b.boxes[second])
    near = np.flatnonzero(overlap >= iou)  # never NaN
    order = near[np.lexsort((second[near], first[near], -overlap[near]))]
    kept = _greedy(first[order], second[order])
    chosen = order[kept]
    chosen = chosen[np.argsort(first[chosen])]
    only_a = np.setdiff1d(np.arange(len(a)), first[chosen])
    only_b = np.setdiff1d(np.arange(len(b)), second[chosen])
    return Matches(first[chosen], second[chosen], overlap[chosen], only_a, only_b)


def renamed_to(a: tuple[str, ...], b: tuple[str, ...]) -> Callable[[Detections], Detections] | None:
    """What gives detections of B the class ids that A has for their names, if they differ.

    A class that A does not know gets an id that A does not have.
    """
    if not a or not b or a == b:
        return None
    ids = np.array([a.index(name) if name in a else len(a) + k for k, name in enumerate(b)])

    def rename(found: Detections) -> Detections:
        known = ids.astype(np.int32)[found.class_ids.clip(0, len(ids) - 1)]
        return replace(found, class_ids=known)

    return rename


def iou_of(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """IoU (N,) of boxes a[i] with b[i], both (N, 4) xyxy; 0 for empty and non-finite boxes."""
    first, second = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        areas = [np.prod(np.maximum(box[:, 2:] - box[:, :2], 0), axis=1) for box in (first, second)]
        result = shared / (areas[0] + areas[1] - shared)
    usable = np.isfinite(first).all(1) & np.isfinite(second).all(1) & (shared > 0)
    return np.where(usable, result, 0.0)


def _greedy(first: Indices, second: Indices) -> Indices:
    """Positions of the pairs (best first) that greedy one-to-one matching keeps.

    A pair that is the best left for both of its members is kept, whatever others do: each round
    keeps all such pairs, and drops what they have taken.
    """
    kept: list[Indices] = []
    left = np.arange(len(first))
    while len(left):
        best_a = np.unique(first[left], return_index=True)[1]
        best_b = np.unique(second[left], return_index=True)[1]
        taken = left[np.intersect1d(best_a, best_b)]
        kept.append(taken)
        free = ~np.isin(first[left], first[taken]) & ~np.isin(second[left], second[taken])
        left = left[free]
    return np.concatenate(kept) if kept else np.zeros(0, np.int64)
