"""What was found in one image file, as JSON: `npud detect --json`, and each line of a log."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections, label_of
from runtime.detector import Timing
from runtime.frame import Frame

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """A record read back: boxes (N, 4) float64 xyxy in source pixels, best score first."""

    width: int
    height: int
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]


def record_of(
    image: Path, frame: Frame, found: Detections, timing: Timing, labels: tuple[str, ...]
) -> Record:
    """JSON of what was found; numbers have the digits that float32 needs, and no more."""
    detections = [
        {
            "label": label_of(labels, class_id),
            "class_id": class_id,
            "score": _shortest(score),
            "box": [_shortest(side) for side in box],
        }
        for box, score, class_id in found
    ]
    return {
        "image": str(image),
        "width": frame.width_px,
        "height": frame.height_px,
        "detections": detections,
        "timing_us": dataclasses.asdict(timing),
    }


def result_of(record: Record) -> Result:
    """Read a record back; raises KeyError, TypeError or ValueError for anything else."""
    found = record["detections"]
    return Result(
        int(record["width"]),
        int(record["height"]),
        np.array([one["box"] for one in found], np.float64).reshape(len(found), 4),
        np.array([one["score"] for one in found], np.float64),
        np.array([one["class_id"] for one in found], np.int64),
    )


def _shortest(value: float) -> float:
    return float(str(np.float32(value)))
