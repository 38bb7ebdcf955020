"""Messages between the daemon and a worker process: msgpack over a Unix socket pair.

SOCK_SEQPACKET keeps messages whole; descriptors of shared memory travel beside them.  Both ends are
npud's own, yet a worker hosts vendor code that may have written anywhere: what comes from it is
checked like any input from outside.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
from typing import Any

import msgpack  # type: ignore[import-untyped]

MAX_BYTES = 1 << 20
MAX_FDS = 4


class Closed(Exception):  # noqa: N818 - like StopIteration: an end, not a mistake
    """The other end is gone."""


class Channel:
    """One end of a socket pair.  Not for two threads at once."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, 2 * MAX_BYTES)

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """(our end, the other end, to be inherited by a child)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    def send(self, message: Any, fds: tuple[int, ...] = ()) -> None:
        """Send one message; raises Closed where nobody is left to read it."""
        payload = msgpack.packb(message)
        try:
            socket.send_fds(self.socket, [payload], list(fds))
        except OSError as error:
            raise Closed(str(error)) from None

    def receive(self, timeout_s: float | None = None) -> tuple[Any, list[int]] | None:
        """(message, descriptors); None after the timeout.  Raises Closed at the end.

        Raises ValueError for what is no message.
        """
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        if not poll.poll(None if timeout_s is None else max(0, round(timeout_s * 1000))):
            return None
        try:
            payload, fds, _, _ = socket.recv_fds(self.socket, MAX_BYTES, MAX_FDS)
        except OSError as error:
            raise Closed(str(error)) from None
        if not payload:
            raise Closed("end of file")
        try:
            return msgpack.unpackb(payload), fds
        except Exception as error:  # msgpack raises a dozen kinds
            raise ValueError(f"expected a msgpack message, got: {error}") from None

    def end_with(self) -> None:
        """Let the kernel terminate this process when the other end closes or sends something."""
        fd = self.socket.fileno()
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if poll.poll(0):  # it closed before the kernel knew that we want to be told
            signal.raise_signal(signal.SIGIO)

    def close(self) -> None:
        """Close this end; the other sees the end of file."""
        self.socket.close()
