"""Checks of the cameras: V4L2 devices, whether they may be opened, and what they deliver."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from runtime import v4l2
from runtime.doctor import Machine
from runtime.models.finding import Finding
from runtime.platform_info import text


def cameras(machine: Machine) -> Iterator[Finding]:
    """One line per capture device; decoders and metadata nodes are passed over."""
    nodes = sorted(machine.at("dev").glob("video[0-9]*"), key=_number)
    shown = False
    for node in nodes:
        name = text(machine.at(f"sys/class/video4linux/{node.name}/name")) or "unnamed"
        for finding in _one(machine, node, name):
            shown = True
            yield finding
    if not shown:
        what = "no V4L2 capture device" if nodes else "no V4L2 device"
        yield Finding("cameras", "ok", f"{what}; streams, files and synthetic:street work")


def _one(machine: Machine, node: Path, name: str) -> Iterator[Finding]:
    if not os.access(node, os.R_OK | os.W_OK):
        yield Finding(
            node.name, "warning", f"/dev/{node.name} ({name}) may not be opened by this user",
            "sudo usermod -aG video $USER, then log in again",
        )  # fmt: skip
    elif not machine.live:
        yield Finding(node.name, "ok", f"/dev/{node.name} {name}", _lasting(machine, node))
    else:
        try:
            device = v4l2.query(node)
        except OSError as error:
            reason = error.strerror or str(error)
            yield Finding(node.name, "warning", f"/dev/{node.name} ({name}): {reason}")
            return
        if device and device.formats:
            said = f"/dev/{node.name} {device.name}: {_formats(device)}"
            yield Finding(node.name, "ok", said, _lasting(machine, node))


def _lasting(machine: Machine, node: Path) -> str:
    """Which name to use instead of the number, which another plug or boot may change."""
    links = sorted(machine.at("dev/v4l/by-id").glob("*"))
    same = [link.name for link in links if link.resolve() == node.resolve()]
    return f"url = /dev/v4l/by-id/{same[0]} in the config: the number may change" if same else ""


def _formats(device: v4l2.Device) -> str:
    """Say e.g. "MJPG up to 1920×1080, YUYV up to 640×480"."""
    parts = []
    for code, sizes in device.formats.items():
        all_largest = (one.largest for one in sizes)
        largest = max(all_largest, key=lambda size: size[0] * size[1], default=None)
        parts.append(f"{code} up to {largest[0]}×{largest[1]}" if largest else code)
    return ", ".join(parts)


def _number(path: Path) -> int:
    return int(re.sub(r"\D", "", path.name) or 0)
