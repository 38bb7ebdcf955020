"""Mailboxes: one slot per camera between capture threads and inference; the latest frame wins."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from runtime.frame import Frame


class Mailboxes:
    """One slot per camera.  When not all can be served, each gets a share by its priority.

    Takers get the waiting camera that has had least for its priority (weighted fair queueing), so
    none starves, and one that was quiet is not owed the past.  lossless: a full slot makes put()
    wait instead of overwriting, and a camera's next frame is given out only after done(camera):
    every frame, in order.
    """

    def __init__(
        self, priorities: Mapping[str, float] | None = None, *, lossless: bool = False
    ) -> None:
        self._priorities = dict(priorities or {})
        self._taker: object = None  # None: everybody
        self._out: Counter[str] = Counter()  # frames taken and not done with, by camera
        self._lossless = lossless
        self._slots: dict[str, Frame] = {}
        self._served: dict[str, float] = {}  # frames given out, over the priority
        self._now = 0.0  # the same, of the camera served last
        self._busy: set[str] = set()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> Frame | None:
        """Leave a frame; returns the one it replaced, which nobody had taken: a dropped frame."""
        with self._changed:
            if self._lossless:
                self._changed.wait_for(lambda: self._closed or frame.camera not in self._slots)
            replaced = self._slots.get(frame.camera)
            if replaced is None:
                served = self._served.get(frame.camera, 0.0)
                self._served[frame.camera] = max(served, self._now)
            self._slots[frame.camera] = frame
            self._changed.notify_all()
            return replaced

    def set_priorities(self, priorities: Mapping[str, float]) -> None:
        """Serve cameras by these from now on."""
        with self._changed:
            self._priorities = dict(priorities)

    def serve(self, taker: object) -> None:
        """Give frames to this taker only; None: to everybody."""
        with self._changed:
            self._taker = taker
            self._changed.notify_all()

    def returned(self, timeout_s: float) -> bool:
        """Wait until all frames that were taken are done with."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._out.total(), timeout_s)

    def settled(self, camera: str, timeout_s: float) -> bool:
        """Wait until no frame of a camera waits or is being worked on; True also once closed."""

        def over() -> bool:
            return self._closed or (camera not in self._slots and not self._out[camera])

        with self._changed:
            return self._changed.wait_for(over, timeout_s)

    def remove(self, camera: str) -> Frame | None:
        """Take the frame of a camera that has ended, if one waits."""
        with self._changed:
            return self._slots.pop(camera, None)

    def take(self, timeout_s: float, taker: object = None) -> Frame | None:
        """Wait for a frame; None after the timeout, once closed, or where another is served."""

        def over() -> bool:
            return self._closed or self._taker not in (None, taker)

        with self._changed:
            self._changed.wait_for(lambda: over() or self._next() is not None, timeout_s)
            camera = self._next()
            if over() or camera is None:
                return None
            self._out[camera] += 1
            if self._lossless:
                self._busy.add(camera)
            self._now = self._served[camera]
            self._served[camera] += 1 / self._priorities.get(camera, 1.0)
            frame = self._slots.pop(camera)
            self._changed.notify_all()
            return frame

    def done(self, camera: str) -> None:
        """The frame taken from this camera has been dealt with."""
        with self._changed:
            self._busy.discard(camera)
            self._out[camera] -= 1
            self._changed.notify_all()

    def idle(self) -> bool:
        """Tell whether no frame waits and, where lossless, none is being worked on."""
        with self._changed:
            return not self._slots and not self._busy

    def close(self) -> None:
        """Wake everybody; nothing more is given out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> str | None:
        waiting = (camera for camera in self._slots if camera not in self._busy)
        return min(waiting, key=self._served.__getitem__, default=None)
