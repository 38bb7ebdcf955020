"""ControlServer: one thread, one line of JSON in, one out, and out of nobody's way.

A client has DEADLINE_S for its request of at most MAX_REQUEST bytes, and again to take the answer.
There are at most MAX_CLIENTS; one more takes the place of the one that has said nothing for
longest.  At most ACCEPTS are let in per TICK_S, so that connecting in a loop costs next to nothing.
"""

from __future__ import annotations

import grp
import logging
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from npud.errors import ConfigError, ControlError, NpudError
from runtime.claim import Claim, Occupied
from runtime.config import Control

log = logging.getLogger("npud")
MAX_REQUEST, MAX_CLIENTS, DEADLINE_S = 4096, 16, 5.0
ACCEPTS, TICK_S = 16, 0.02
IDLE_S = 0.5


@dataclass(frozen=True)
class Command:
    """What a request runs: arguments -> result, both plain JSON types; may raise NpudError.

    slow: it has a thread of its own, one at a time; who asked for it is logged.
    """

    run: Callable[[dict[str, Any]], dict[str, Any]]
    slow: bool = False


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """{"command": "status", "arguments": {}}."""

    command: str
    arguments: dict[str, Any] = {}


@dataclass
class _Client:
    """A connection: reading its request, waiting for a slow command, or being sent the answer."""

    socket: socket.socket
    deadline: float
    received: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None
    busy: bool = False


class ControlServer:
    """Listens on a Unix socket.  Raises ControlError where it cannot, ConfigError for a group."""

    def __init__(self, path: Path, settings: Control, commands: Mapping[str, Command]) -> None:
        self.path, self._commands = path, dict(commands)
        self._claim = _claimed(path)
        try:
            self._listener = _listen(path, settings)
        except BaseException:
            self._claim.release()
            raise
        self._wakeup, self._waker = socket.socketpair()
        self._wakeup.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._clients: dict[int, _Client] = {}
        self._done: list[tuple[_Client, dict[str, Any]]] = []
        self._slow = threading.Lock()
        self._paused_until = 0.0
        self._stop = False
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, drop the clients, remove the socket."""
        self._stop = True
        self._wake()
        self._thread.join()
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        for end in (self._listener, self._wakeup, self._waker):
            end.close()
        self._claim.release()

    def _serve(self) -> None:
        while not self._stop:
            for key, _ in self._selector.select(self._wait_s()):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wakeup:
                    self._wakeup.recv(4096)
                elif client := self._clients.get(key.fd):
                    self._guarded(client)
            self._finish_slow()
            self._tick(time.monotonic())

    def _wait_s(self) -> float:
        return TICK_S if self._paused_until else IDLE_S

    def _tick(self, now: float) -> None:
        """Drop who took too long; listen again after a pause."""
        for client in [c for c in self._clients.values() if now > c.deadline and not c.busy]:
            self._drop(client)
        if self._paused_until and now > self._paused_until:
            self._paused_until = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors, or gone before we looked
                break
            self._admit(connection)
        self._selector.unregister(self._listener)
        self._paused_until = time.monotonic() + TICK_S

    def _admit(self, connection: socket.socket) -> None:
        idle = [c for c in self._clients.values() if not c.busy]
        if len(self._clients) >= MAX_CLIENTS and idle:
            self._drop(min(idle, key=lambda c: c.deadline))
        if len(self._clients) >= MAX_CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        client = _Client(connection, time.monotonic() + DEADLINE_S)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)

    def _guarded(self, client: _Client) -> None:
        try:
            if client.answer is not None:
                self._send(client)
            else:
                self._receive(client)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)

    def _receive(self, client: _Client) -> None:
        data = client.socket.recv(MAX_REQUEST + 1)
        if not data:
            self._drop(client)
            return
        client.received += data
        line, end, _ = bytes(client.received).partition(b"\n")
        if len(line) > MAX_REQUEST:
            self._answer(client, _refused(f"expected at most {MAX_REQUEST} bytes on one line"))
        elif end:
            self._run(client, line)

    def _run(self, client: _Client, line: bytes) -> None:
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            self._answer(client, _refused(f'expected {{"command": …}}, got: {error}'))
            return
        command = self._commands.get(request.command)
        if command is None:
            known = ", ".join(self._commands)
            self._answer(client, _refused(f"unknown command {request.command[:40]!r}: {known}"))
        elif not command.slow:
            self._answer(client, _called(command, request))
        elif not self._slow.acquire(blocking=False):
            self._answer(client, _refused("another request is being worked on; try again"))
        else:
            log.info("control: %s, asked by %s", request.command, _peer(client.socket))
            client.busy = True
            self._selector.unregister(client.socket)
            work = (client, command, request)
            threading.Thread(target=self._work, args=work, daemon=True).start()

    def _work(self, client: _Client, command: Command, request: Request) -> None:
        try:
            self._done.append((client, _called(command, request)))
        finally:
            self._slow.release()
        self._wake()

    def _finish_slow(self) -> None:
        while self._done:
            client, answer = self._done.pop(0)
            client.busy = False
            self._selector.register(client.socket, selectors.EVENT_WRITE)
            self._answer(client, answer)

    def _answer(self, client: _Client, answer: dict[str, Any]) -> None:
        client.answer = memoryview(msgspec.json.encode(answer) + b"\n")
        client.deadline = time.monotonic() + DEADLINE_S
        self._selector.modify(client.socket, selectors.EVENT_WRITE)
        self._guarded(client)

    def _send(self, client: _Client) -> None:
        assert client.answer is not None  # noqa: S101 - for the type checker
        sent = client.socket.send(client.answer)
        client.answer = client.answer[sent:]
        if not client.answer:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        if not client.busy:
            self._selector.unregister(client.socket)
        client.socket.close()

    def _wake(self) -> None:
        with suppress(OSError):
            self._waker.send(b"x")


def _called(command: Command, request: Request) -> dict[str, Any]:
    try:
        return {"ok": True, "result": command.run(request.arguments)}
    except NpudError as error:
        return _refused(str(error))
    except Exception:  # a bug must not end the thread
        log.exception("control: %s", request.command)
        return _refused("npud has a bug; its log says more")


def _refused(reason: str) -> dict[str, Any]:
    return {"ok": False, "error": reason}


def _peer(connection: socket.socket) -> str:
    """Who is at the other end, as the kernel says: SO_PEERCRED."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", data)
    return f"uid {uid}, pid {pid}"


def _claimed(path: Path) -> Claim:
    try:
        return Claim(path)
    except Occupied as error:
        why = "exists and is not a socket" if error.foreign else "is in use: another npud runs"
        raise ControlError(f"control.socket: {path} {why}") from None
    except OSError as error:
        raise ControlError(f"control.socket: cannot make {path}: {error.strerror}") from None


def _listen(path: Path, settings: Control) -> socket.socket:
    """Bind, with the right permissions from the first moment on."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)  # of an npud that was killed
        os.fchmod(listener.fileno(), 0o600)  # Linux gives the file what the socket has
        listener.bind(str(path))
        if settings.group:
            os.chown(path, -1, grp.getgrnam(settings.group).gr_gid)
        path.chmod(int(settings.mode, 8))
        listener.listen(128)
        listener.setblocking(False)
    except KeyError:
        listener.close()
        raise ConfigError(f"control.group: no group is named {settings.group!r}") from None
    except OSError as error:
        listener.close()
        raise ControlError(f"control.socket: cannot make {path}: {error.strerror}") from None
    return listener
