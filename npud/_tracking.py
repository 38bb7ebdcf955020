"""What a subscriber remembers of one camera: its labels, its last status, what it has lost."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from npud.messages import DetectionsMessage, StatusMessage

_MAX_HELD = 256  # messages held back at most while the labels are not known
_MAX_MODELS = 16  # label lists remembered at most; the oldest is forgotten


class CameraTrack:
    """Puts labels and losses on the detections of one camera, in their order.

    Labels belong to a (session, model) pair, so a restart or another model never gets the labels
    of the one before.  Detections of a pair whose labels are not known yet are held back until
    its status message comes, `wait_s` seconds are over, or too many are waiting.
    """

    def __init__(self, wait_s: float) -> None:
        self.status: StatusMessage | None = None
        self.lost = 0
        self._wait_s = wait_s
        self._labels: dict[tuple[int, str], tuple[str, ...]] = {}
        self._deadlines: dict[tuple[int, str], float] = {}
        self._held: deque[DetectionsMessage] = deque()
        self._session = -1
        self._next_seq = 0

    def add_status(self, status: StatusMessage) -> None:
        """Remember a status message."""
        self.status = status
        if status.model:
            _remember(self._labels, (status.session, status.model), status.labels)

    def add_detections(self, message: DetectionsMessage, now_s: float) -> None:
        """Queue a detections message that came at `now_s` (monotonic seconds)."""
        lost = 0
        if message.session == self._session:
            lost = max(0, message.seq - self._next_seq)
            self._next_seq = max(self._next_seq, message.seq + 1)
        else:
            self._session, self._next_seq = message.session, message.seq + 1
        self.lost += lost
        self._held.append(replace(message, lost=lost) if lost else message)
        key = (message.session, message.model)
        if key not in self._deadlines:
            _remember(self._deadlines, key, now_s + self._wait_s)

    def ready(self, now_s: float) -> list[DetectionsMessage]:
        """Take the messages that need not wait any longer, oldest first, with their labels."""
        out = []
        while self._held:
            message = self._held[0]
            key = (message.session, message.model)
            labels = self._labels.get(key)
            if labels is None:
                overdue = now_s >= self._deadlines.get(key, now_s)
                if not overdue and len(self._held) <= _MAX_HELD:
                    break
            self._held.popleft()
            out.append(replace(message, labels=labels) if labels else message)
        return out

    def next_deadline(self) -> float | None:
        """When the oldest message held back is due, monotonic seconds; None if none is held."""
        if not self._held:
            return None
        message = self._held[0]
        return self._deadlines.get((message.session, message.model), 0.0)


def _remember(known: dict[tuple[int, str], Any], key: tuple[int, str], value: Any) -> None:
    known[key] = value
    if len(known) > _MAX_MODELS:
        del known[next(iter(known))]
