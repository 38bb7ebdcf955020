"""Checks of the computer: memory, clocks and governors, temperatures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from runtime.doctor import Machine
from runtime.models.finding import Finding, Level
from runtime.platform_info import text
from runtime.thermal import temperatures_c

LOW_MB, LITTLE_MB = 100, 400  # a model, its buffers and the camera's frames take 200 to 400
WARM_C, HOT_C = 80.0, 95.0  # boards slow down at 80 to 95 °C
GOVERNORS = {
    "CPU": "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
    "NPU": "/sys/class/devfreq/*.[nb]pu/governor",
}
SLOW = frozenset({"powersave", "userspace"})


def memory(machine: Machine) -> Iterator[Finding]:
    """Memory that is free, and the kernel's pool for devices where there is one."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", text(machine.at("proc/meminfo")), re.M))
    if "MemAvailable" not in found:
        yield Finding("memory", "warning", "cannot be read from /proc/meminfo")
        return
    free, total = (int(found[key]) // 1024 for key in ("MemAvailable", "MemTotal"))
    pool = f"; {int(found['CmaFree']) // 1024} MB for devices" if "CmaFree" in found else ""
    line = f"{free} of {total} MB available{pool}"
    if free < LITTLE_MB:
        remedy = "end other programs; a model with its buffers takes 200 to 400 MB"
        yield Finding("memory", "problem" if free < LOW_MB else "warning", line, remedy)
    else:
        yield Finding("memory", "ok", line)


def clocks(machine: Machine) -> Iterator[Finding]:
    """Governors of the CPU clusters and the NPU, and how fast they run now."""
    policies = sorted(machine.at("sys/devices/system/cpu/cpufreq").glob("policy*"))
    cpu = [
        _clock(p, "scaling_governor", "scaling_cur_freq", "scaling_max_freq", 1e6) for p in policies
    ]
    devfreq = machine.at("sys/class/devfreq")
    npu = [
        _clock(p, "governor", "cur_freq", "max_freq", 1e9)
        for pattern in ("*.npu", "*.bpu")
        for p in sorted(devfreq.glob(pattern))
    ]
    for name, read in (("CPU", cpu), ("NPU", npu)):
        if not (shown := [line for line in read if line]):
            continue
        line = "; ".join(dict.fromkeys(shown))
        if any(word in SLOW for word in line.split()):
            remedy = f"echo performance | sudo tee {GOVERNORS[name]}"
            yield Finding(f"{name} clock", "warning", line, remedy)
        else:
            yield Finding(f"{name} clock", "ok", line)


def temperature(machine: Machine) -> Iterator[Finding]:
    """The hottest zones, against where boards slow down."""
    zones = temperatures_c(machine.at("sys/class/thermal"))
    if not zones:
        yield Finding("temperature", "ok", "no sensor that Linux shows")
        return
    hottest = sorted(zones.items(), key=lambda zone: -zone[1])[:3]
    line = ", ".join(f"{name} {degrees:.0f} °C" for name, degrees in hottest)
    if hottest[0][1] < WARM_C:
        yield Finding("temperature", "ok", line)
    else:
        level: Level = "problem" if hottest[0][1] >= HOT_C else "warning"
        remedy = "a heat sink or fan: the board slows down at 80 to 95 °C"
        yield Finding("temperature", level, line, remedy)


def _clock(folder: Path, governor: str, now: str, most: str, per_ghz: float) -> str:
    """Say e.g. "ondemand 0.4 of 1.8 GHz" of one clock; "" where it is not there."""
    words = text(folder / governor)
    numbers = [text(folder / name) for name in (now, most)]
    if words and all(number.isdigit() for number in numbers):
        current, maximum = (int(number) / per_ghz for number in numbers)
        words += f" {current:.1f} of {maximum:.1f} GHz"
    return words
