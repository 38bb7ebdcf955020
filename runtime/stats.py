"""CameraStats: what is counted and measured per camera, and the state it adds up to."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from npud.messages import PERCENTILES, STAGES, State
from runtime.histogram import Counted, Histogram

Alarm = Literal["", "source", "engine", "inference", "late", "silent", "frozen"]

WINDOW = 512  # messages over which latency and stage times are reported
FPS_WINDOW_S = 5.0
FAILURES = 3  # so many frames of a camera lost in inference, one after another, are a state
SILENCE_S = 5.0  # a camera that has given nothing for so long is degraded


@dataclass(frozen=True, slots=True)
class Tally:
    """All that was counted of a camera, at one moment.

    dropped: by reason, which add up: no time for the frame, an error in inference, too late for
    max_age_ms; alarms: how often the state became degraded, by what it was; stages and age:
    durations of published frames, age from capture to publication.
    """

    captured: int
    published: int
    dropped: Mapping[str, int]
    alarms: Mapping[Alarm, int]
    stages: Mapping[str, Counted]
    age: Counted


class CameraStats:
    """Counters and windows of one camera; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.captured = self.published = self.dropped = self.errors = self._failures = 0
        self._late = 0
        self._failing: Alarm = "inference"
        self._alarm: Alarm = ""
        self._alarms: dict[Alarm, int] = dict.fromkeys(get_args(Alarm)[1:], 0)
        self._stages = {stage: Histogram() for stage in STAGES}
        self._age = Histogram()
        self.width = self.height = 0
        self._latency_us: deque[int] = deque(maxlen=WINDOW)
        self._timing_us: deque[tuple[int, ...]] = deque(maxlen=WINDOW)
        self._published_at: deque[float] = deque()
        self._started = self._captured_at = time.monotonic()
        self._source_problem = self._inference_problem = self._picture_problem = ""
        self.ended = ""

    def capture(self, width: int, height: int) -> int:
        """Count a captured frame; returns its index."""
        with self._lock:
            index = self.captured
            self.captured += 1
            self.width, self.height = width, height
            self._captured_at = time.monotonic()
            self._source_problem = ""
            return index

    def drop(self) -> None:
        """Count a frame that was captured and will not be published."""
        with self._lock:
            self.dropped += 1

    def publish(self, latency_us: int, timing_us: Mapping[str, int]) -> None:
        """Count a published frame."""
        now = time.monotonic()
        with self._lock:
            self.published += 1
            self._latency_us.append(latency_us)
            self._timing_us.append(tuple(timing_us[stage] for stage in STAGES))
            for stage, histogram in self._stages.items():
                histogram.add(timing_us[stage])
            self._age.add(latency_us)
            self._published_at.append(now)
            self._forget(now)
            self._failures = 0

    def source_failed(self, reason: str) -> bool:
        """The camera gives no frames, for this reason; cleared by the next frame.

        Returns whether it is the first such reason since the last frame.
        """
        with self._lock:
            first = not self._source_problem
            self._source_problem = reason
            return first

    def frozen(self, reason: str) -> None:
        """The camera repeats one picture, as this says, or "": it does not."""
        with self._lock:
            self._picture_problem = reason

    def inference_failed(self, reason: str) -> int:
        """A frame was lost in inference, for this reason; returns how many in a row were."""
        with self._lock:
            self.errors += 1
            return self._lost("inference", reason)

    def late(self, age_us: int, max_age_ms: int) -> int:
        """A frame was too old to be worked on; returns how many in a row were lost."""
        age_ms = age_us // 1000
        with self._lock:
            self._late += 1
            return self._lost(
                "late", f"frames are {age_ms} ms old before inference (max_age_ms = {max_age_ms})"
            )

    def state(self, trouble: str = "") -> tuple[State, str]:
        """(state, reason); the reason is empty when the state is ok or starting.

        trouble: why no detector works at all, or one is not to be trusted, where that is so.
        """
        with self._lock:
            if self.ended:
                return "stopped", self.ended
            alarm, reason = self._problem(trouble)
            if alarm != self._alarm:
                self._alarm = alarm
                if alarm:
                    self._alarms[alarm] += 1
            if alarm:
                return "degraded", reason
            return ("ok" if self.published else "starting"), ""

    def tally(self) -> Tally:
        """What was counted so far."""
        with self._lock:
            no_time = self.dropped - self.errors - self._late
            return Tally(
                self.captured,
                self.published,
                {"busy": no_time, "error": self.errors, "late": self._late},
                dict(self._alarms),
                {stage: histogram.read() for stage, histogram in self._stages.items()},
                self._age.read(),
            )

    def fps(self) -> float:
        """Published frames per second over the last FPS_WINDOW_S."""
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            span = min(FPS_WINDOW_S, now - self._started)
            return len(self._published_at) / span if span > 0 else 0.0

    def latency_us(self) -> dict[str, int]:
        """Capture to publication: p50, p95, p99 and max over the last WINDOW frames."""
        with self._lock:
            values = list(self._latency_us) or [0]
        return dict(zip(PERCENTILES, map(int, np.percentile(values, [50, 95, 99, 100]))))

    def timing_us(self) -> dict[str, int]:
        """Mean of each stage over the last WINDOW frames."""
        with self._lock:
            rows = list(self._timing_us) or [(0,) * len(STAGES)]
        return dict(zip(STAGES, map(int, np.mean(rows, axis=0))))

    def _lost(self, alarm: Alarm, reason: str) -> int:
        """A frame was lost on the way to its detections; returns how many in a row were."""
        self.dropped += 1
        self._failures += 1
        self._failing, self._inference_problem = alarm, reason
        return self._failures

    def _problem(self, trouble: str) -> tuple[Alarm, str]:
        """What is wrong, the worst first."""
        if self._source_problem:
            return "source", self._source_problem
        if trouble:
            return "engine", trouble
        if self._failures >= FAILURES:
            return self._failing, self._inference_problem
        silent = time.monotonic() - self._captured_at
        if silent > SILENCE_S:
            return "silent", f"no frame from the camera for {silent:.0f} s"
        return ("frozen" if self._picture_problem else ""), self._picture_problem

    def _forget(self, now: float) -> None:
        while self._published_at and self._published_at[0] < now - FPS_WINDOW_S:
            self._published_at.popleft()
