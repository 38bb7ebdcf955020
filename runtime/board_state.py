"""Clocks, load and throttling of the board, as Linux and the NPUs' drivers report them.

Where: Linux' Documentation/ABI/testing/sysfs-class-devfreq, cpufreq's policies and
sysfs-class-thermal; the drivers' load files as Rockchip and D-Robotics describe them (not yet seen
on a board).  What cannot be read is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
SYS = Path("/sys")
POLICIES = "devices/system/cpu/cpufreq/policy*/scaling_cur_freq"  # kHz
DEVFREQ = "class/devfreq/*/cur_freq"  # Hz
RKNPU = "kernel/debug/rknpu/load"  # root only: "NPU load:  Core0: 12%, Core1:  0%,"
BPU = "devices/system/bpu/bpu*/ratio"  # percent


@dataclass(frozen=True, slots=True)
class Cooling:
    """A way in which the board is cooled, or slowed down: state 0 is not at all."""

    device: str
    kind: str
    state: int
    most: int


def clocks_hz(sys: Path = SYS) -> dict[str, float]:
    """Present clocks: "policy0" for a cluster of CPUs, "npu", "gpu" and "dmc" for devices."""
    found = {path.parent.name: khz * 1e3 for path, khz in _numbers(sys, POLICIES)}
    for path, hertz in _numbers(sys, DEVFREQ):
        found[path.parent.name.rpartition(".")[2]] = float(hertz)  # fdab0000.npu
    return found


def npu_load(sys: Path = SYS) -> dict[str, float]:
    """How busy the cores of the NPU are, 0 to 1, by "0", "1", …; {} where nobody says."""
    found = {path.parent.name[3:]: percent / 100 for path, percent in _numbers(sys, BPU)}
    text = _read(sys / RKNPU, str) or ""
    cores = re.findall(r"Core(\d+):\s*(\d+)%", text) or [
        ("0", percent) for percent in re.findall(r"NPU load:\s*(\d+)%", text)
    ]
    return found | {core: int(percent) / 100 for core, percent in cores}


def cooling(sys: Path = SYS) -> list[Cooling]:
    """What the thermal governor does at the moment."""
    found = []
    for path in sorted(sys.glob("class/thermal/cooling_device*")):
        state, most = (_read(path / name, int) for name in ("cur_state", "max_state"))
        kind = _read(path / "type", str)
        if kind is not None and state is not None and most is not None:
            found.append(Cooling(path.name.removeprefix("cooling_device"), kind, state, most))
    return found


def _numbers(sys: Path, pattern: str) -> list[tuple[Path, int]]:
    read = ((path, _read(path, int)) for path in sorted(sys.glob(pattern)))
    return [(path, number) for path, number in read if number is not None]


def _read(path: Path, kind: Callable[[str], T]) -> T | None:
    try:
        return kind(path.read_text().strip())
    except (OSError, ValueError):  # not there, not ours to read, or switched off
        return None
