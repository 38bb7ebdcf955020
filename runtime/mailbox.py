"""Mailboxes: one slot per camera between capture threads and inference; the latest frame wins."""

from __future__ import annotations

import threading
from collections import OrderedDict

from runtime.frame import Frame


class Mailboxes:
    """One slot per camera.  Takers get the camera that has waited longest, so no camera starves.

    lossless: a full slot makes put() wait instead of overwriting, and a camera's next frame is
    given out only after done(camera): every frame, in order.
    """

    def __init__(self, *, lossless: bool = False) -> None:
        self._lossless = lossless
        self._slots: OrderedDict[str, Frame] = OrderedDict()
        self._busy: set[str] = set()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> Frame | None:
        """Leave a frame; returns the one it replaced, which nobody had taken: a dropped frame."""
        with self._changed:
            if self._lossless:
                self._changed.wait_for(lambda: self._closed or frame.camera not in self._slots)
            replaced = self._slots.get(frame.camera)
            self._slots[frame.camera] = frame  # an overwritten frame keeps its place in the queue
            self._changed.notify_all()
            return replaced

    def take(self, timeout_s: float) -> Frame | None:
        """Wait for a frame; None after the timeout or once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ready() is not None, timeout_s)
            camera = self._ready()
            if self._closed or camera is None:
                return None
            if self._lossless:
                self._busy.add(camera)
            frame = self._slots.pop(camera)
            self._changed.notify_all()
            return frame

    def done(self, camera: str) -> None:
        """The frame taken from this camera has been dealt with."""
        with self._changed:
            self._busy.discard(camera)
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

    def _ready(self) -> str | None:
        return next((camera for camera in self._slots if camera not in self._busy), None)
