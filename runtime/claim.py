"""A Unix socket's place in the file system, held by a lock file for as long as a process lives.

Without it libzmq and bind() after unlink() would take a socket away from a process that listens.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO


class Occupied(Exception):  # noqa: N818 - a state, which callers put into their own words
    """Another process uses the place; or something that is no socket lies there (`foreign`)."""

    def __init__(self, path: Path, *, foreign: bool = False) -> None:
        super().__init__(str(path))
        self.foreign = foreign


class Claim:
    """Holds `path` and `path`.lock.  Raises Occupied, and OSError where the folder is not ours."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard: IO[str] | None = _lock(path, path.with_name(path.name + ".lock"))
        foreign = path.exists() and not path.is_socket()
        if foreign or _answers(path):
            lock = Path(self._guard.name)
            lock.unlink()
            self._guard.close()
            raise Occupied(path, foreign=foreign)

    def release(self) -> None:
        """Remove socket and lock; calling it twice is harmless."""
        if self._guard:
            self.path.unlink(missing_ok=True)
            Path(self._guard.name).unlink(missing_ok=True)
            self._guard.close()
            self._guard = None


def _lock(socket_path: Path, path: Path) -> IO[str]:
    """Hold a lock on a file until it is closed or the process dies, however it dies."""
    while True:
        path.parent.mkdir(exist_ok=True)
        guard = path.open("a")
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(guard.fileno()).st_ino:
                return guard
        except FileNotFoundError:
            pass  # another npud ended just now and removed the file: take a new one
        except OSError:
            guard.close()
            raise Occupied(socket_path) from None
        guard.close()


def _answers(path: Path) -> bool:
    """Tell whether some process listens on a Unix socket; a stale one refuses."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
