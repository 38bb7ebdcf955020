"""The emulated board as an RK3588: Rockchip's real binding over a stand-in for librknnrt.

The tensors it serves are the vendor's own simulation of a real model where the shared folder has
them, and those of the bundled model everywhere.
"""

from __future__ import annotations

from pathlib import Path

from tests.board.build_native import GCC
from tests.board.machine import Board
from tests.board.overlay import overlay
from tests.board.requirements import run

HERE = Path(__file__).resolve().parent
FACE = {
    "proc/device-tree/model": b"Radxa ROCK 5B\0",
    "proc/device-tree/compatible": b"radxa,rock-5b\0rockchip,rk3588\0",
    "dev/dri/renderD129": b"",  # rknn-toolkit-lite2 looks for it in a container
}


def rk3588_board(board: Board, folder: Path) -> Board:
    """A board of its own in `folder`: the same system with an RK3588's device tree and library."""
    folder.mkdir(parents=True)
    library = folder / "librknnrt.so"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    source = HERE / "stub_rknnrt.c"
    run([GCC, *flags, "-fvisibility=hidden", "-o", str(library), str(source), "-lpthread"])
    return overlay(board, folder, {**FACE, "usr/lib/librknnrt.so": library})
