"""One picture's detections, as `npud detect` and `npud replay` print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_text(record: Mapping[str, Any]) -> str:
    """A line for the picture, and one for each object; what runtime.accuracy.records makes."""
    found = record["detections"]
    milliseconds = sum(record["timing_us"].values()) / 1000
    lines = [
        f"{record['image']}  {record['width']}×{record['height']}  "
        f"{len(found)} objects  {milliseconds:.1f} ms"
    ]
    for one in found:
        x1, y1, x2, y2 = one["box"]
        lines.append(
            f"  {one['score']:.2f}  {one['label']:<16} {x1:7.1f} {y1:7.1f} {x2:7.1f} {y2:7.1f}"
        )
    return "\n".join(lines)
