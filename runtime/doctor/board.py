"""Checks of the NPU: chip, device nodes, driver, the vendor's library."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from pathlib import Path

from runtime import platform_info
from runtime.doctor import Machine
from runtime.models.finding import TARGETS, Finding

NODES = {
    "rockchip": ("dev/dri/renderD129", "dev/rknpu"),
    "rdk": ("dev/bpu_core0", "dev/bpu"),
}
NPU = {"rockchip": "NPU", "rdk": "BPU"}
NO_NODE = {
    "rockchip": "boot a kernel with Rockchip's rknpu driver (the vendor's 5.10 or 6.1); librknnrt "
    "cannot use mainline Linux's",
    "rdk": "boot D-Robotics' own image; the BPU's driver is in its kernel",
}
INSTALL = {
    "rockchip": "copy librknnrt.so of rknn-toolkit2's release into /usr/lib (docs/boards.md)",
    "rdk": "sudo apt install hobot-dnn (docs/boards.md)",
}


def chip(machine: Machine) -> Iterator[Finding]:
    """Which board it is."""
    platform = machine.platform
    name = " ".join(part for part in (platform.model, f"({platform.soc})") if part != "()")
    if not platform.family:
        text = f"{name or 'this computer'}: no NPU that npud knows; .onnx models run on the CPU"
        yield Finding("chip", "ok", text)
    elif platform.soc in TARGETS:
        yield Finding("chip", "ok", name)
    else:
        yield Finding(
            "chip", "warning", f"{name}: npud was made for {' and '.join(TARGETS)}",
            "expect .rknn models for this chip to work; tell us how it went",
        )  # fmt: skip


def device_nodes(machine: Machine) -> Iterator[Finding]:
    """A device node of the NPU that this user may open."""
    family = machine.platform.family
    if not family:
        return
    found = [f"/{path}" for path in NODES[family] if machine.at(path).exists()]
    unit = NPU[family]
    if not found:
        expected = " nor ".join(f"/{path}" for path in NODES[family])
        yield Finding(
            unit, "problem", f"no device node: neither {expected} exists", NO_NODE[family]
        )
    for path in found:
        node = machine.at(path[1:])
        if os.access(node, os.R_OK | os.W_OK):
            yield Finding(unit, "ok", f"{path} can be read and written")
        else:
            group = _group(node)
            yield Finding(
                unit, "problem", f"{path} belongs to group {group}, which this user is not in",
                f"sudo usermod -aG {group} $USER, then log in again (a service: Group={group})",
            )  # fmt: skip


def driver(machine: Machine) -> Iterator[Finding]:
    """The version of the kernel's driver, where it says one."""
    if machine.platform.family != "rockchip":
        return
    version = machine.platform.driver
    if not version:
        text = "version not readable: debugfs is root's (sudo npud doctor shows it)"
        yield Finding("driver", "ok", text)
    elif tuple(map(int, version.split(".")[:2])) < (0, 9):
        yield Finding(
            "driver", "warning", f"rknpu {version}, older than 0.9",
            "update the image: the driver is part of its kernel",
        )  # fmt: skip
    else:
        yield Finding("driver", "ok", f"rknpu {version}")


def libraries(machine: Machine) -> Iterator[Finding]:
    """The vendor's library: there, once, and of which version."""
    platform = machine.platform
    if not platform.family:
        return
    name = "librknnrt" if platform.family == "rockchip" else "libdnn"
    if not platform.library and not platform.runtime:
        yield Finding(name, "problem", f"{name}.so was not found", INSTALL[platform.family])
        return
    version = platform.runtime or "of an unknown version"
    details = f" with HBRT {platform.hbrt}" if platform.hbrt else ""
    yield Finding(name, "ok", f"{version}{details}, {platform.library or 'by its package'}")
    if platform.family == "rockchip":
        yield from _copies(machine)


def _copies(machine: Machine) -> Iterator[Finding]:
    """Several librknnrt.so: rknn-toolkit-lite2 opens only the one in /usr/lib."""
    found = {
        f"/{path}": platform_info.library_version(machine.at(path)) or "unknown"
        for path in platform_info.LIBRKNNRT
        if machine.at(path).is_file() and not machine.at(path).is_symlink()
    }
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{path} is {version}" for path, version in found.items())
        yield Finding(
            "librknnrt", "warning", f"several versions: {listed}",
            "keep one; rknn-toolkit-lite2 opens /usr/lib/librknnrt.so only",
        )  # fmt: skip
    if "/usr/lib/librknnrt.so" not in found and not machine.at(platform_info.LIBRKNNRT[0]).exists():
        yield Finding(
            "librknnrt", "warning", "not at /usr/lib/librknnrt.so",
            f"sudo ln -s {next(iter(found), 'librknnrt.so')} /usr/lib/librknnrt.so",
        )  # fmt: skip


def _group(path: Path) -> str:
    try:
        return grp.getgrgid(path.stat().st_gid).gr_name
    except (KeyError, OSError):
        return "unknown"
