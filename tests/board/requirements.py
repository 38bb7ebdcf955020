"""What the board is made of, and what the host must have for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

TOOLS = {  # program: Debian package that brings it
    "qemu-aarch64": "qemu-user",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "dpkg": "dpkg",
}
PYTHON = "3.11"  # Debian 12's, and of the RK3588 images built on it
DEBS = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6")
HEADERS = f"libpython{PYTHON}-dev"  # unpacked without what it depends on
# The vendors' bindings need NumPy 1 (hobot-dnn-rdkx5); npud is tested with NumPy 2 elsewhere.
WHEELS = (
    "numpy==1.26.4",
    "pyzmq",
    "msgpack",
    "msgspec",
    "click",
    "rich",
    "opencv-python-headless<4.12",  # the last for NumPy 1
    "rknn-toolkit-lite2==2.5.0",
    "hobot-dnn-rdkx5==3.0.6",  # built for CPython 3.10, imports in 3.11 as well
    "pytest>=8",
    "pytest-timeout>=2.3",
    "hypothesis>=6",
    "mcap>=1.6",
)
PLATFORMS = ("manylinux2014_aarch64", *(f"manylinux_2_{n}_aarch64" for n in (17, 26, 27, 28)))


class BoardError(Exception):
    """The board cannot be built or run here; the message says what to do."""


class NoEmulatorError(BoardError):
    """Neither qemu nor a package manager to get it from."""


def in_ci() -> bool:
    """Whether a missing board is a failure."""
    return os.environ.get("CI", "") not in ("", "0", "false")


def require_tools(tools: Mapping[str, str]) -> None:
    """Make sure that the host has programs, given with their packages; root installs them in CI.

    Raises BoardError, NoEmulatorError where there is no apt-get either.
    """
    packages = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if not packages:
        return
    if shutil.which("apt-get") is None:
        kind = NoEmulatorError if "qemu-user" in packages else BoardError
        raise kind(f"missing: {', '.join(packages)}; and there is no apt-get to install them")
    if "gcc-aarch64-linux-gnu" in packages:
        packages.append("libc6-dev-arm64-cross")
    command = f"apt-get update && apt-get install -y {' '.join(packages)}"
    if not (in_ci() and os.geteuid() == 0):
        raise BoardError(f"missing: {', '.join(packages)}.  Install with (as root): {command}")
    print(f"board: {command}", file=sys.stderr)
    run(["apt-get", "-qq", "update"])
    lock = "-oDPkg::Lock::Timeout=300"
    run(["apt-get", lock, "-qq", "install", "-y", "--no-install-recommends", *packages])


def run(command: list[str], cwd: str | os.PathLike[str] | None = None) -> str:
    """Run a command to its end; return what it printed.  Raises BoardError with its last lines."""
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-12:])
        raise BoardError(f"failed ({done.returncode}): {' '.join(command[:6])} …\n{tail}")
    return done.stdout
