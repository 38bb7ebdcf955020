"""Subscribing: `for message in npud.subscribe(endpoint)` gives typed messages."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from types import TracebackType
from typing import Generic, TypeVar, cast, overload

import zmq

from npud._selection import Selection
from npud._tracking import CameraTrack
from npud.endpoints import endpoint_problem, silence_hint
from npud.errors import HeartbeatLost, SubscribeError
from npud.keys import key_pair, public_key
from npud.messages import DetectionsMessage, Message, StatusMessage
from npud.wire import MAX_BYTES, decode

_MAX_CAMERAS = 256
_BUFFER, _BUFFER_WITH_FRAMES = 1000, 100  # messages; a frame is a hundred times larger
_GRACE_MS = 100  # a process that was suspended gets this to read what came meanwhile

M_co = TypeVar("M_co", bound=Message, covariant=True)


@overload
def subscribe(
    endpoint: str,
    cameras: str | Iterable[str] | None = None,
    *,
    heartbeat_timeout_s: float | None = 5.0,
    wait_for_labels_s: float = 1.5,
    receive_buffer: int | None = None,
    server_key: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
) -> Subscriber[DetectionsMessage]: ...
@overload
def subscribe(
    endpoint: str,
    cameras: str | Iterable[str] | None = None,
    *,
    topics: Sequence[str],
    heartbeat_timeout_s: float | None = 5.0,
    wait_for_labels_s: float = 1.5,
    receive_buffer: int | None = None,
    server_key: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
) -> Subscriber[Message]: ...
def subscribe(
    endpoint: str,
    cameras: str | Iterable[str] | None = None,
    *,
    topics: Sequence[str] = ("detections",),
    heartbeat_timeout_s: float | None = 5.0,
    wait_for_labels_s: float = 1.5,
    receive_buffer: int | None = None,
    server_key: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
) -> Subscriber[DetectionsMessage] | Subscriber[Message]:
    """Connect to npud and return a Subscriber to iterate over.

    cameras: None for all, a name, or several.
    topics: what to yield, of "detections", "status", "frames" and "compare".
    heartbeat_timeout_s: HeartbeatLost after so many seconds without a message; None for never.
    wait_for_labels_s: hold detections back so long at most until the labels are known.
    receive_buffer: messages kept while you are busy, newer ones are then lost and counted in
    `message.lost`; by default 1000, or 100 with frames.
    server_key, key: files of `npud keys`, where the daemon has one: the daemon's public key, and
    this subscriber's own secret key.
    context: a ZeroMQ context to share; by default the Subscriber has its own.

    The daemon need not run yet.  Raises SubscribeError for an argument that cannot be right.
    """
    return Subscriber(
        endpoint,
        cameras,
        topics,
        heartbeat_timeout_s=heartbeat_timeout_s,
        wait_for_labels_s=wait_for_labels_s,
        receive_buffer=receive_buffer,
        server_key=server_key,
        key=key,
        context=context,
    )


class Subscriber(Generic[M_co]):
    """An iterator over the messages of one endpoint, and a context manager that closes it.

    Iteration never ends by itself: it raises HeartbeatLost when nothing comes any more, and
    SubscribeError once for each message that is not npud's (that message is gone).  After
    either, iterating again goes on with the next message.  It ends after `close()`.

    Use a Subscriber in the thread that made it, and make it after a fork, not before.
    """

    def __init__(
        self,
        endpoint: str,
        cameras: str | Iterable[str] | None,
        topics: Sequence[str],
        *,
        heartbeat_timeout_s: float | None,
        wait_for_labels_s: float,
        receive_buffer: int | None,
        server_key: str | os.PathLike[str] | None,
        key: str | os.PathLike[str] | None,
        context: zmq.Context[zmq.Socket[bytes]] | None,
    ) -> None:
        self.endpoint = endpoint
        self._selection = Selection(cameras, topics)
        self._heartbeat_s = math.inf if heartbeat_timeout_s is None else heartbeat_timeout_s
        self._wait_for_labels_s = wait_for_labels_s
        default = _BUFFER_WITH_FRAMES if "frames" in self._selection.kinds else _BUFFER
        buffer = default if receive_buffer is None else receive_buffer
        if buffer < 1 or self._heartbeat_s <= 0:
            raise SubscribeError("expected a receive_buffer ≥ 1 and a heartbeat_timeout_s > 0")
        self._tracks: dict[str, CameraTrack] = {}
        self._ready: deque[Message] = deque()
        keys = _read_keys(server_key, key)
        self._connect(context, buffer, keys)
        self._heard_s = monotonic()

    def _connect(
        self,
        context: zmq.Context[zmq.Socket[bytes]] | None,
        buffer: int,
        keys: tuple[bytes, bytes, bytes] | None,
    ) -> None:
        problem = endpoint_problem(self.endpoint)
        if problem is not None:
            raise SubscribeError(problem)
        self._owns_context = context is None
        self._context = zmq.Context() if context is None else context
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, buffer)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max(MAX_BYTES.values()))
        if keys:
            self._socket.curve_serverkey = keys[0]
            self._socket.curve_publickey, self._socket.curve_secretkey = keys[1:]
        for topic in self._selection.topics:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic)
        try:
            self._socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise SubscribeError(f"endpoint {self.endpoint!r}: {error}") from error

    @property
    def status(self) -> dict[str, StatusMessage]:
        """The last status message of each camera heard of."""
        known = ((name, track.status) for name, track in self._tracks.items())
        return {name: status for name, status in known if status is not None}

    @property
    def lost(self) -> dict[str, int]:
        """Detections messages lost on the way to this subscriber, by camera."""
        return {name: track.lost for name, track in self._tracks.items()}

    def labels(self, camera: str) -> tuple[str, ...]:
        """Return the labels in the last status message of a camera; () before there is one."""
        track = self._tracks.get(camera)
        return track.status.labels if track is not None and track.status is not None else ()

    def recv(self, timeout_s: float | None = None) -> M_co | None:
        """Return the next message; None after `timeout_s` seconds (None waits, 0 only looks).

        Raises HeartbeatLost and SubscribeError just like iteration.
        """
        end_s = math.inf if timeout_s is None else monotonic() + timeout_s
        while not self._socket.closed:
            message = self._next_ready()
            if message is not None:
                return message
            if self._wait(end_s):
                self._take()
                continue
            self._check_heartbeat()
            if monotonic() >= end_s:
                return self._next_ready()
        raise SubscribeError(f"{self.endpoint}: this subscriber is closed")

    def close(self) -> None:
        """Disconnect and free everything; iteration ends.  Closing twice is fine."""
        self._socket.close()
        if self._owns_context:
            self._context.term()

    def __enter__(self) -> Subscriber[M_co]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[M_co]:
        return self

    def __next__(self) -> M_co:
        message = None if self._socket.closed else self.recv()
        if message is None:
            raise StopIteration
        return message

    def _next_ready(self) -> M_co | None:
        if not self._ready:
            now_s = monotonic()
            for track in self._tracks.values():
                self._ready.extend(track.ready(now_s))
        return cast(M_co, self._ready.popleft()) if self._ready else None

    def _wait(self, end_s: float) -> bool:
        """Wait until a message is there (True), or something else is due (False)."""
        dues = (track.next_deadline() for track in self._tracks.values())
        due_s = min(end_s, self._heard_s + self._heartbeat_s, *(d for d in dues if d is not None))
        if due_s == math.inf:
            return self._socket.poll() != 0
        return self._socket.poll(max(0, math.ceil((due_s - monotonic()) * 1e3))) != 0

    def _take(self) -> None:
        """Read one message from the socket, and queue what it makes ready."""
        parts = self._socket.recv_multipart(zmq.NOBLOCK)
        if not self._selection.wants(parts[0]):
            return
        self._heard_s = monotonic()
        message = decode(parts)
        track = self._track(message.camera)
        if isinstance(message, DetectionsMessage):
            track.add_detections(message, self._heard_s)
            return
        if isinstance(message, StatusMessage):
            track.add_status(message)
        if message.kind in self._selection.kinds:
            self._ready.append(message)

    def _track(self, camera: str) -> CameraTrack:
        if camera not in self._tracks:
            if len(self._tracks) >= _MAX_CAMERAS:
                raise SubscribeError(f"{self.endpoint}: expected at most {_MAX_CAMERAS} cameras")
            self._tracks[camera] = CameraTrack(self._wait_for_labels_s)
        return self._tracks[camera]

    def _check_heartbeat(self) -> None:
        silent_s = monotonic() - self._heard_s
        if silent_s < self._heartbeat_s or self._socket.poll(_GRACE_MS):
            return
        self._heard_s = monotonic()  # whoever goes on listening gets the full time again
        what, hint = self._selection.description, silence_hint(self.endpoint)
        raise HeartbeatLost(f"{self.endpoint}: no message{what} for {silent_s:.1f} s: {hint}")


def _read_keys(
    server_key: str | os.PathLike[str] | None, key: str | os.PathLike[str] | None
) -> tuple[bytes, bytes, bytes] | None:
    """(server's public, own public, own secret) key; None where no encryption is asked for."""
    if server_key is None and key is None:
        return None
    if server_key is None or key is None:
        raise SubscribeError("expected both server_key and key, or neither")
    try:
        return (public_key(server_key), *key_pair(key))
    except ValueError as error:
        raise SubscribeError(str(error)) from None
