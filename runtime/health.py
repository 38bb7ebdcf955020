"""Health: whether the daemon is alive, and whether it does what it is there for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from npud.messages import State, StatusMessage
from runtime.notify import Progress

log = logging.getLogger("npud")
STALLED_S = 10.0  # the main loop ticks once a second
STUCK_S = 5.0  # frames come, and nothing is published, for so long


class Health:
    """What the main loop last saw; asked by other threads.

    alive() and ready() give (yes or no, why as plain JSON types).
    """

    def __init__(self, required: Callable[[], Collection[str]]) -> None:
        self._required = required
        self._begun = time.monotonic()
        self._ticked: float | None = None
        self._statuses: Sequence[StatusMessage] = ()
        self._progress = Progress()
        self._stuck: dict[str, float] = {}  # camera: since when

    def tick(self, statuses: Sequence[StatusMessage]) -> None:
        """The main loop has gone round, and published these; changes of state are logged."""
        before = {status.camera: status.state for status in self._statuses}
        for status in statuses:
            _tell(before.get(status.camera, "starting"), status)
        now = time.monotonic()
        stuck = self._progress.stuck(statuses)
        self._stuck = {camera: self._stuck.get(camera, now) for camera in stuck}
        self._statuses, self._ticked = statuses, now

    def alive(self) -> tuple[bool, dict[str, Any]]:
        """The process answers, and its main loop goes round; while it starts it need not yet."""
        if self._ticked is None:
            return True, {"status": "starting", "seconds": self._since(self._begun)}
        seconds = self._since(self._ticked)
        stalled = seconds > STALLED_S
        return not stalled, {"status": "stalled" if stalled else "ok", "seconds": seconds}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Every camera that is required gives frames, and detections of them are published."""
        required, alive = self._required(), self.alive()[0]
        statuses = {status.camera: status for status in self._statuses}
        cameras: dict[str, Any] = {}
        for name in sorted({*required, *statuses}):
            reason = self._reason(statuses.get(name))
            cameras[name] = {"ready": not reason, "required": name in required, "reason": reason}
        ready = alive and self._ticked is not None and all(cameras[n]["ready"] for n in required)
        return ready, {
            "ready": ready,
            "main_loop": "ok" if alive else "stalled",
            "cameras": cameras,
        }

    def _reason(self, status: StatusMessage | None) -> str:
        """Why a camera is not ready, or ""."""
        if status is None or status.state == "starting":
            return "no detections yet"
        if status.state != "ok":
            return f"{status.state}: {status.reason}"
        stuck_s = self._since(self._stuck.get(status.camera, time.monotonic()))
        return f"frames come, none is published for {stuck_s:g} s" if stuck_s > STUCK_S else ""

    def _since(self, moment: float) -> float:
        return round(time.monotonic() - moment, 1)


def _tell(before: State, status: StatusMessage) -> None:
    about = {"camera": status.camera}
    if status.state == "degraded" != before:
        log.warning("camera %s: degraded: %s", status.camera, status.reason, extra=about)
    if status.state == "ok" and before == "degraded":
        log.info("camera %s: ok again", status.camera, extra=about)
