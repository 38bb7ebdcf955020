"""Detections: boxes, scores and class ids of one frame, as three parallel arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class DetectedObject(NamedTuple):
    """One detection: its label, score in [0, 1], and box (4,) float32 x1, y1, x2, y2, pixels."""

    label: str
    score: float
    box: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found in one frame, best score first.  Nothing found is N = 0, never None.

    boxes: (N, 4) float32, x1, y1, x2, y2 in pixels; scores: (N,) float32 in [0, 1];
    class_ids: (N,) int32.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]

    @classmethod
    def empty(cls) -> Detections:
        """No detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[tuple[NDArray[np.float32], float, int]]:
        """Yield (box (4,) float32, score, class_id) per detection."""
        for box, score, class_id in zip(self.boxes, self.scores, self.class_ids):
            yield box, float(score), int(class_id)

    def to_supervision(self, labels: tuple[str, ...] = ()) -> Any:
        """Convert to `supervision.Detections`; raises ImportError where it is not installed."""
        import supervision  # optional, heavy: loaded only by those who ask for it

        names = [label_of(labels, int(c)) for c in self.class_ids]
        data = {"class_name": np.array(names, dtype=np.str_)}
        return supervision.Detections(
            xyxy=self.boxes, confidence=self.scores, class_id=self.class_ids.astype(int), data=data
        )


def label_of(labels: tuple[str, ...] | list[str], class_id: int) -> str:
    """Return the label of a class id; `class <id>` where the label list is too short."""
    return labels[class_id] if 0 <= class_id < len(labels) else f"class {class_id}"
