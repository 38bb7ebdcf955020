"""Option types: durations and sizes with their units, sizes of pictures."""

from __future__ import annotations

import re

import click

SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
BYTES = {"": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}


class Quantity(click.ParamType):  # type: ignore[type-arg]
    """A number with a unit, in the smallest unit's terms: "10s" -> 10.0, "500MB" -> 500e6."""

    def __init__(self, name: str, units: dict[str, float], example: str) -> None:
        self.name, self._units, self._example = name, units, example

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number; fails for what is none."""
        if isinstance(value, (int, float)):
            return float(value)
        found = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]*)\s*", str(value))
        unit = self._units.get(found[2].lower()) if found else None
        if found is None or unit is None or float(found[1]) == 0:
            units = ", ".join(filter(None, self._units))
            self.fail(f"expected a number with a unit ({units}), such as {self._example}, "
                      f"got {value!r}", param, ctx)  # fmt: skip
        return float(found[1]) * unit


class Pixels(click.ParamType):  # type: ignore[type-arg]
    """A picture's size, "WIDTHxHEIGHT" -> (height, width)."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Height and width; fails for what is none."""
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(value))
        if found is None or not (int(found[1]) and int(found[2])):
            self.fail(f"expected WIDTHxHEIGHT, such as 640x480, got {value!r}", param, ctx)
        return int(found[2]), int(found[1])


DURATION = Quantity("duration", SECONDS, "10s")
SIZE = Quantity("size", BYTES, "500MB")
PIXELS = Pixels()
