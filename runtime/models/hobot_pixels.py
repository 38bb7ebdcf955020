"""What the metadata of an RDK X5 .bin say of the pixels: lists with an entry for each input."""

from __future__ import annotations

import re

from runtime.models.info import Pixels

NV12 = 7  # in the graph's field 7


def pixels_of(index: int, metadata: dict[str, str], types: list[int]) -> Pixels:
    """One input's column in the metadata, whose lists are separated by semicolons."""

    def column(key: str) -> str:
        values = metadata.get(key, "")[:4096].split(";")
        return values[index].strip() if index < len(values) else ""

    feed = column("INPUT_TYPE_RT").lower()
    if not feed and index < len(types) and types[index] == NV12:
        feed = "nv12"
    scale = _numbers(column("SCALE_VALUE"))
    std = tuple(float(f"{1 / value:.10g}") for value in scale) if all(scale) else ()
    return Pixels(feed, column("INPUT_TYPE_TRAIN").lower(), _numbers(column("MEAN_VALUE")), std)


def _numbers(value: str) -> tuple[float, ...]:
    """Three numbers (one counts for all channels); () where there are none."""
    try:
        numbers = tuple(float(word) for word in re.split(r"[,\s]+", value[:256]) if word)
    except ValueError:
        return ()
    if not all(1e-30 < abs(number) < 1e30 or number == 0 for number in numbers):
        return ()
    return numbers * 3 if len(numbers) == 1 else numbers[:3]
