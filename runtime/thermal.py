"""Temperatures of the board, as Linux reports them."""

from __future__ import annotations

from pathlib import Path

ZONES = Path("/sys/class/thermal")


def temperatures_c(zones: Path = ZONES) -> dict[str, float]:
    """Degrees Celsius by thermal zone ("npu-thermal": 47.2); {} where there are none."""
    found: dict[str, float] = {}
    try:
        there = sorted(zones.glob("thermal_zone*"))
    except OSError:  # out of descriptors: no reason to end
        return found
    for zone in there:
        try:
            name = (zone / "type").read_text().strip()
            found[name] = int((zone / "temp").read_text()) / 1000
        except (OSError, ValueError):  # a zone that is switched off cannot be read
            continue
    return found
