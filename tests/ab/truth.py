"""Pairs of detections whose difference is known."""

from __future__ import annotations

import numpy as np

from npud.detections import Detections
from runtime.ab.pairs import Found, Pair, compare
from runtime.detector import Timing

THRESHOLD, FLOOR = 0.25, 0.05
SIZE_PX = 60.0
NOTHING = Timing(0, 0, 0)


def scene(rng: np.random.Generator) -> Detections:
    """0 to 14 objects on a grid of places, none near another, scores over the floor."""
    count = int(rng.integers(0, 15))
    places = rng.choice(48, count, replace=False)
    corners = np.stack([places % 8, places // 8], 1) * 100 + rng.uniform(0, 30, (count, 2))
    boxes = np.concatenate([corners, corners + SIZE_PX], 1).astype(np.float32)
    scores = rng.uniform(0.3, 0.95, count).astype(np.float32)
    return Detections(boxes, scores, rng.integers(0, 3, count).astype(np.int32))


def changed(
    a: Detections,
    rng: np.random.Generator,
    score: float = 0.0,
    dropped: float = 0.0,
    moved_px: float = 0.0,
) -> Detections:
    """b: scores shifted on average by `score`, some boxes missing, all moved to the right."""
    kept = rng.random(len(a)) >= dropped
    scores = (
        a.scores + np.float32(score) + rng.normal(0, 0.01, len(a)).astype(np.float32) * (score != 0)
    )
    boxes = a.boxes + np.array([moved_px, 0, moved_px, 0], np.float32)
    if moved_px:
        boxes += rng.normal(0, 0.5, (len(a), 1)).astype(np.float32) * np.float32([1, 0, 1, 0])
    return Detections(boxes[kept], scores[kept], a.class_ids[kept])


def pair(a: Detections, b: Detections) -> Pair:
    return compare(Found(a, NOTHING), Found(b, NOTHING), THRESHOLD, THRESHOLD)
