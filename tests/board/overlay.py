"""A board with another face: the same system, with files of a certain product laid over it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.board.machine import Board


def overlay(board: Board, folder: Path, files: Mapping[str, bytes | Path]) -> Board:
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
    return Board(folder)


def _link(below: Path, over: Path) -> None:
    """Everything of `below` that `over` has not, as links; folders of both are descended into."""
    for child in below.iterdir():
        own = over / child.name
        if own.is_dir() and not own.is_symlink():
            _link(child, own)
        elif not os.path.lexists(own):
            own.symlink_to(child)
