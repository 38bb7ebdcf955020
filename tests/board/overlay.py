"""A board with another face: the same system, with files of a certain product laid over it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.board.machine import DEFAULT_CPU, Board
from tests.board.requirements import PYTHON


class ScriptedBoard(Board):
    """A board whose Python can start itself again, as the daemon's workers need: by a script."""

    def command(self, arguments: Sequence[str], cpu: str, plugin: str | None = None) -> list[str]:
        """The host's command line that runs the board's Python; `cpu` is fixed."""
        return [str(self.folder / "python"), *map(str, arguments)]


def overlay(board: Board, folder: Path, files: Mapping[str, bytes | Path]) -> ScriptedBoard:
    """Make `folder` a board like `board`, with `files` (path below its root: content or file)."""
    for name, content in files.items():
        target = folder / "root" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            target.symlink_to(content)
        else:
            target.write_bytes(content)
    _link(board.root, folder / "root")
    (folder / "site").symlink_to(board.site)
    root, script = folder / "root", folder / "python"
    emulator = f'qemu-aarch64 -cpu {DEFAULT_CPU} -0 "$0" -L {root} -E PYTHONHOME={root}/usr'
    script.write_text(f'#!/bin/sh\nexec {emulator} {root}/usr/bin/python{PYTHON} "$@"\n')
    script.chmod(0o755)
    return ScriptedBoard(folder)


def _link(below: Path, over: Path) -> None:
    """Everything of `below` that `over` has not, as links; folders of both are descended into."""
    for child in below.iterdir():
        own = over / child.name
        if own.is_dir() and not own.is_symlink():
            _link(child, own)
        elif not os.path.lexists(own):
            own.symlink_to(child)
