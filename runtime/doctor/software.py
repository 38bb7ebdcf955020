"""Checks of the software: versions, NumPy's ABI, trial imports, and the endpoint."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import zmq

import npud
from npud.endpoints import endpoint_problem
from npud.errors import ModelError
from runtime import compat, models
from runtime.doctor import Machine
from runtime.models.finding import Finding, Level

PACKAGES = {"numpy": ("numpy",), "opencv": ("opencv-python", "opencv-python-headless"),
            "pyzmq": ("pyzmq",), "msgpack": ("msgpack",)}  # fmt: skip
# family -> (module, npud's extra that brings it): one of them is enough
BINDINGS = {
    "rockchip": (("rknnlite.api", "rockchip"),),
    "rdk": (("hobot_dnn.pyeasy_dnn", "rdk"), ("hobot_dnn_rdkx5.pyeasy_dnn", "rdk")),
    "": (("onnxruntime", "sim"),),
}
# library that an import misses -> Debian packages that bring it
DEBIAN = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1",
    "libdnn.so": "hobot-dnn",
    "libpython3.10.so.1.0": "libpython3.10",
}
IMPORT_S = 20.0


def versions(machine: Machine) -> Iterator[Finding]:
    """What is installed, in one line."""
    parts = [f"npud {npud.__version__}", f"Python {platform.python_version()}"]
    for name, distributions in PACKAGES.items():
        version = next((v for d in distributions if (v := _installed(d))), "missing")
        parts.append(f"{name} {version}")
    yield Finding("versions", "ok", f"{', '.join(parts)}, libzmq {zmq.zmq_version()}")


def numpy_abi(machine: Machine) -> Iterator[Finding]:
    """pyeasy_dnn of the RDK is built for NumPy 1 and CPython 3.10."""
    if machine.platform.family != "rdk":
        return
    version = _installed("numpy")
    if version.partition(".")[0] not in ("", "1"):
        yield Finding(
            "numpy", "problem", f"{version}, but pyeasy_dnn is built for NumPy 1",
            "pip install 'npud[rdk]', or 'numpy<2' 'opencv-python<4.12'",
        )  # fmt: skip
    if sys.version_info[:2] != (3, 10):
        yield Finding(
            "python", "warning",
            f"{platform.python_version()}, but pyeasy_dnn is built for the image's 3.10",
            "make the environment with /usr/bin/python3",
        )  # fmt: skip


def bindings(machine: Machine) -> Iterator[Finding]:
    """Import in a process of its own what the pictures and the NPU need."""
    if not machine.live:
        return
    if trouble := _trial("cv2"):
        yield Finding("opencv", "problem", trouble, _remedy(trouble, "opencv-python"))
    tried = [(module, extra, _trial(module)) for module, extra in BINDINGS[machine.platform.family]]
    if working := [module for module, _, trouble in tried if not trouble]:
        yield Finding("binding", "ok", f"{working[0]} can be imported")
        return
    module, extra, trouble = tried[-1]
    told = [t for _, _, t in tried if not t.startswith("No module named")] or [trouble]
    # without Rockchip's binding librknnrt still works; without the simulator a board does
    level: Level = "problem" if machine.platform.family == "rdk" else "warning"
    remedy = _remedy(told[0], f"'npud[{extra}]'")
    yield Finding("binding", level, f"{module}: {told[0]}", remedy)


def model(machine: Machine) -> Iterator[Finding]:
    """The config's model: readable, and made for this board."""
    if machine.model is None:
        return
    try:
        info = models.describe(machine.model)
    except ModelError as error:
        yield Finding("model", "problem", str(error), "set model.path")
        return
    yield Finding("model", "ok", f"{machine.model.name} can be read (npud inspect shows more)")
    yield from compat.gate(info, machine.platform)


def endpoint(machine: Machine) -> Iterator[Finding]:
    """Where the daemon would publish: valid, and writable for this user."""
    if problem := endpoint_problem(machine.endpoint):
        yield Finding("endpoint", "problem", problem, "set publish.endpoint")
        return
    scheme, _, address = machine.endpoint.partition("://")
    if scheme != "ipc" or address.startswith("@"):
        yield Finding("endpoint", "ok", machine.endpoint)
        return
    folder = machine.at(address.lstrip("/")).parent
    shown = Path(address).parent
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        yield Finding("endpoint", "ok", f"{machine.endpoint}, {shown} can be written")
    else:
        what = "belongs to somebody else" if folder.is_dir() else "does not exist"
        yield Finding(
            "endpoint", "warning", f"{machine.endpoint}: {shown} {what}",
            f"sudo install -d -o $USER {shown}, or --endpoint ipc:///tmp/npud",
        )  # fmt: skip


def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _trial(module: str) -> str:
    """What goes wrong when a module is imported, "" where nothing does."""
    code = f"import importlib; importlib.import_module({module!r})"
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=IMPORT_S
        )
    except subprocess.TimeoutExpired:
        return f"importing it takes more than {IMPORT_S:.0f} s"
    except OSError as error:
        return f"cannot start {sys.executable}: {error.strerror}"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"importing it kills the process (signal {-done.returncode})"
    last = (done.stderr.strip().splitlines() or ["it fails without a word"])[-1]
    return re.sub(r"^\w*Error: ", "", last)[:200]


def _remedy(trouble: str, package: str) -> str:
    for library, debian in DEBIAN.items():
        if library in trouble:
            return f"sudo apt install {debian}"
    return f"pip install {package}"
