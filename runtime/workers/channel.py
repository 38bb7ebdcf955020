"""Messages between the daemon and a worker process: msgpack over a Unix socket pair.

SOCK_SEQPACKET keeps messages whole; descriptors of shared memory travel beside them.  Both ends are
npud's own, yet a worker hosts vendor code that may have written anywhere: what comes from it is
checked like any input from outside.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Any

import msgspec

MAX_BYTES = 1 << 20
FDS_BYTES = socket.CMSG_LEN(4 * array.array("i").itemsize)  # room for four
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Closed(Exception):  # noqa: N818 - like StopIteration: an end, not a mistake
    """The other end is gone."""


class Channel:
    """One end of a socket pair.  Not for two threads at once."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._buffer = memoryview(bytearray(MAX_BYTES))  # untouched pages take no memory
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, 2 * MAX_BYTES)

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """(our end, the other end, to be inherited by a child)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    def send(self, message: Any, fds: tuple[int, ...] = ()) -> None:
        """Send one message; raises Closed where nobody is left to read it."""
        payload = _encode(message)
        try:
            if fds:
                socket.send_fds(self.socket, [payload], list(fds))
            else:
                self.socket.send(payload)
        except OSError as error:
            raise Closed(str(error)) from None

    def receive(
        self, timeout_s: float | None = None, decode: Callable[[memoryview], Any] = _decode
    ) -> tuple[Any, list[int]] | None:
        """(message, descriptors); None after the timeout.  Raises Closed at the end.

        decode: of a msgspec.msgpack.Decoder that knows what is expected.  Raises ValueError for
        what is no such message.
        """
        if not self._poll.poll(None if timeout_s is None else max(0, round(timeout_s * 1000))):
            return None
        try:
            size, beside, _, _ = self.socket.recvmsg_into([self._buffer], FDS_BYTES)
        except OSError as error:
            raise Closed(str(error)) from None
        if not size:
            raise Closed("end of file")
        try:
            return decode(self._buffer[:size]), _descriptors(beside)
        except (msgspec.MsgspecError, RecursionError) as error:
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


def _descriptors(beside: list[tuple[int, int, bytes]]) -> list[int]:
    """Those that came beside a message, which are the receiver's to close."""
    found = array.array("i")
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return found.tolist()
