"""Publisher: the daemon's ZeroMQ PUB socket, bound once and owned until the end."""

from __future__ import annotations

import os
import re
import shutil
import threading
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator

from npud.endpoints import endpoint_problem
from npud.errors import ConfigError, NpudError, PublishError
from npud.messages import Message
from npud.wire import encode
from runtime.claim import Claim, Occupied
from runtime.config import Publish
from runtime.curve import secure
from runtime.loopback import is_loopback

KEY = "publish.endpoint"
HANDSHAKE_MS = 10_000  # who connects and says nothing holds a descriptor for no longer


class Publisher:
    """A bound endpoint.  Sending never waits: a subscriber that cannot keep up loses messages."""

    def __init__(self, settings: Publish) -> None:
        self.endpoint = settings.endpoint
        self._claim = _claim(settings)
        self._lock = threading.Lock()
        self._context = zmq.Context()
        self._gate: ThreadAuthenticator | None = None
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, settings.send_buffer)
        self._socket.setsockopt(zmq.LINGER, 200)  # ms: the last status gets out
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        try:
            self._gate = secure(self._socket, self._context, settings)
            _bind(self._socket, settings)
        except zmq.ZMQError as error:
            self.close()
            raise PublishError(_bind_failed(settings.endpoint, error)) from None
        except NpudError:
            self.close()
            raise

    def send(self, message: Message) -> None:
        """Send to all subscribers of the message's topic; from any thread."""
        parts = encode(message)
        with self._lock:
            if not self._socket.closed:
                self._socket.send_multipart(parts)

    def close(self) -> None:
        """Unbind and remove what was left in the file system; calling it twice is harmless."""
        with self._lock:
            self._socket.close()
        if self._gate:
            self._gate.stop()
            self._gate = None
        self._context.term()
        if self._claim:
            self._claim.release()


class Silence:
    """In place of a Publisher where nobody is to hear."""

    def send(self, message: Message) -> None:
        """Send to nobody."""

    def close(self) -> None:
        """Do nothing."""


def _bind(socket: zmq.Socket[bytes], settings: Publish) -> None:
    """Bind; a Unix socket is its user's alone until it has the mode and group of the config."""
    scheme, _, path = settings.endpoint.partition("://")
    if scheme != "ipc" or path.startswith("@"):
        socket.bind(settings.endpoint)
        return
    before = os.umask(0o177)
    try:
        socket.bind(settings.endpoint)
    finally:
        os.umask(before)
    try:
        if settings.group:
            shutil.chown(path, group=settings.group)
        os.chmod(path, int(settings.mode, 8))
    except LookupError:
        raise ConfigError(f"publish.group: {settings.group}: no such group") from None
    except OSError as error:
        raise PublishError(f"publish.group: {path}: {error.strerror or error}") from None


def _claim(settings: Publish) -> Claim | None:
    """Check the endpoint; for ipc://, hold a lock file beside the socket as long as it is bound.

    libzmq would silently take a Unix socket away from another process that listens on it.
    """
    endpoint = settings.endpoint
    scheme, _, address = endpoint.partition("://")
    if (problem := endpoint_problem(endpoint)) or scheme not in ("ipc", "tcp"):
        raise ConfigError(f"{KEY}: {problem or f'expected ipc:// or tcp://, got {endpoint!r}'}")
    if scheme == "tcp":
        _check_tcp(settings, address)
    if scheme == "tcp" or address.startswith("@"):  # the kernel lets nobody else bind these
        return None
    try:
        return Claim(Path(address))
    except Occupied as error:
        foreign = f"{KEY}: {endpoint}: {address} exists and is not a socket"
        raise PublishError(foreign if error.foreign else _in_use(endpoint)) from None
    except OSError as error:
        raise PublishError(_denied(endpoint, error)) from None


def _check_tcp(settings: Publish, address: str) -> None:
    private = is_loopback(address.rpartition(":")[0])
    if not private and not settings.insecure and not settings.key:
        raise ConfigError(
            f"{KEY}: {settings.endpoint} can be read from other machines, without encryption; "
            "expected publish.key (npud keys --help), a loopback address, or publish.insecure = "
            "true to allow it"
        )


def _bind_failed(endpoint: str, error: zmq.ZMQError) -> str:
    if error.errno == zmq.EADDRINUSE:
        return _in_use(endpoint)
    return _denied(endpoint, error)


def _in_use(endpoint: str) -> str:
    return (
        f"{KEY}: {endpoint} is in use: another npud runs there; stop it or choose another endpoint"
    )


def _denied(endpoint: str, error: OSError | zmq.ZMQError) -> str:
    reason = re.sub(r"\s*\(addr=.*", "", error.strerror or str(error))
    return f"{KEY}: cannot bind {endpoint}: {reason}; choose one you may write, such as " + (
        "ipc:///tmp/npud" if endpoint.startswith("ipc") else "tcp://127.0.0.1:5550"
    )
