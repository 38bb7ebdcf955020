"""Platform: which board this is and what of the vendor's is on it, read from files alone.

No vendor library is loaded for it.  Every path is below `root`, so that tests bring a tree of
their own.  Sources: device tree (`/proc/device-tree`), debugfs of Rockchip's rknpu driver, version
strings inside the vendors' libraries, dpkg's status; for the RDK also `/sys/class/socinfo`.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from pathlib import Path

RKNPU_VERSIONS = (
    "sys/kernel/debug/rknpu/version",  # "RKNPU driver: v0.9.8"; debugfs is root's
    "sys/module/rknpu/version",
    "proc/rknpu/version",
)
LIBRKNNRT = ("usr/lib/librknnrt.so", "usr/lib/aarch64-linux-gnu/librknnrt.so",
             "usr/local/lib/librknnrt.so")  # fmt: skip
LIBDNN = ("usr/hobot/lib/libdnn.so", "usr/lib/libdnn.so", "usr/lib/aarch64-linux-gnu/libdnn.so")
RKNNRT_VERSION = rb"librknnrt version: (\d+\.\d+\.\d+[\w.]*)"
# "[DNN] Runtime version = 1.23.10_(3.15.49 HBRT)" is what it prints
DNN_VERSION = rb"(\d+\.\d+\.\d+)_\((\d+\.\d+\.\d+) HBRT\)"
RDK_X5_IDS = frozenset({"301", "302"})  # low 12 bits of the RDK's board_id, hexadecimal
NPU_CORES = {"rk3588": 3, "rk3576": 2}  # the other chips have one
ROCKCHIP = re.compile(r"rockchip,(rk\d{4})s?\b")


@dataclass(frozen=True)
class Platform:
    """One machine; what is not there or cannot be read is "".

    `soc` is "rk3588", another chip's name, or "rdkx5"; `family` "rockchip", "rdk" or "" for any
    other computer.  `runtime` is the version of librknnrt or libdnn and `library` where it is;
    `hbrt` is the version of the RDK's model loader, which .bin files name.
    """

    soc: str = ""
    family: str = ""
    model: str = ""
    driver: str = ""
    runtime: str = ""
    library: str = ""
    hbrt: str = ""

    @property
    def npu_cores(self) -> int:
        """How many inferences the NPU runs at the same time."""
        return NPU_CORES.get(self.soc, 1)


def read_platform(root: Path = Path("/")) -> Platform:
    """Look at this machine, or at a tree that looks like one."""
    model = text(root / "proc/device-tree/model")
    compatible = text(root / "proc/device-tree/compatible")
    if found := ROCKCHIP.search(compatible):
        driver = next((v for p in RKNPU_VERSIONS if (v := _version(text(root / p)))), "")
        library = _first(root, LIBRKNNRT)
        versions = _find(library, RKNNRT_VERSION)
        return Platform(found[1], "rockchip", model, driver, versions[0], _shown(library, root))
    if _is_rdk_x5(root, model, compatible):
        library = _first(root, LIBDNN)
        runtime, hbrt = _find(library, DNN_VERSION, 2)
        runtime = runtime or _package_version(root, "hobot-dnn")
        return Platform("rdkx5", "rdk", model, "", runtime, _shown(library, root), hbrt)
    return Platform(model=model or text(root / "sys/class/dmi/id/product_name"))


def library_version(path: Path) -> str:
    """The version of a librknnrt.so, "" where it names none."""
    return _find(path, RKNNRT_VERSION)[0]


def text(path: Path) -> str:
    """A small file's content, its zero bytes as spaces; "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(65536).replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _is_rdk_x5(root: Path, model: str, compatible: str) -> bool:
    board = text(root / "sys/class/socinfo/board_id").lower()[-3:]
    chip = text(root / "sys/class/boardinfo/soc_name").lower()
    return "rdk x5" in model.lower() or chip.startswith("x5") or board in RDK_X5_IDS


def _version(line: str) -> str:
    found = re.search(r"\d+\.\d+(\.\d+)?", line)
    return found[0] if found else ""


def _first(root: Path, paths: tuple[str, ...]) -> Path | None:
    return next((root / p for p in paths if (root / p).is_file()), None)


def _shown(path: Path | None, root: Path) -> str:
    return f"/{path.relative_to(root)}" if path else ""


def _find(path: Path | None, pattern: bytes, groups: int = 1) -> tuple[str, ...]:
    """The groups of the first match in a library's bytes; "" for each where there is none."""
    nothing = ("",) * groups
    if path is None:
        return nothing
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            found = re.search(pattern, data)
            return tuple(group.decode() for group in found.groups()) if found else nothing
    except (OSError, ValueError):  # unreadable, or empty
        return nothing


def _package_version(root: Path, name: str) -> str:
    """The version of a Debian package, from dpkg's own list."""
    try:
        status = (root / "var/lib/dpkg/status").read_text("utf-8", "replace")
    except OSError:
        return ""
    found = re.search(rf"^Package: {re.escape(name)}\n(?:.+\n)*?Version: (\S+)", status, re.M)
    return found[1] if found else ""
