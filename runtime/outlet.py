"""Outlet: what the detectors found in a camera's frames, put in order and published."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Protocol

import cv2
import numpy as np

from npud.detections import Detections
from npud.errors import InferenceError
from npud.messages import DetectionsMessage, FrameMessage, Message, StatusMessage
from runtime.config import Publish
from runtime.detector import Timing
from runtime.engine import Engine
from runtime.frame import Frame
from runtime.stats import CameraStats


class Sender(Protocol):
    """A Publisher, or something in its place."""

    def send(self, message: Message) -> None:
        """Send to whoever wants it; never waits."""
        ...


class Outlet:
    """Messages of one camera, numbered, in the order of capture; from any thread."""

    def __init__(
        self, camera: str, session: int, sender: Sender, publish: Publish, stats: CameraStats
    ) -> None:
        self.stats = stats
        self._camera, self._session = camera, session
        self._sender, self._publish = sender, publish
        self._order = threading.Lock()
        self._seq = self._status_seq = 0
        self._last_frame = -1

    def send(
        self,
        model: str,
        frame: Frame,
        found: Detections,
        wait_us: int,
        timing: Timing,
        variant: str = "",
    ) -> DetectionsMessage | None:
        """Publish what was found; None where a later frame was quicker: it is dropped."""
        timing_us = {
            "wait": wait_us + timing.wait,
            "preprocess": timing.preprocess,
            "inference": timing.inference,
            "postprocess": timing.postprocess,
        }
        with self._order:
            if frame.index < self._last_frame:
                self.stats.drop()
                return None
            self._last_frame = frame.index
            now = time.time_ns()
            message = DetectionsMessage(
                camera=self._camera,
                session=self._session,
                seq=self._seq,
                frame=frame.index,
                captured_ns=frame.captured_ns,
                published_ns=now,
                width=frame.width_px,
                height=frame.height_px,
                model=model,
                variant=variant,
                timing_us=timing_us,
                dropped=self.stats.dropped,
                detections=found,
            )
            self._sender.send(message)
            self.stats.publish(max(0, (now - frame.captured_ns) // 1000), timing_us)
            self._seq += 1
            if self._publish.frames:
                self._send_picture(frame, message)
            return message

    def status(
        self, engine: Engine, trouble: str, temperatures_c: Mapping[str, float]
    ) -> StatusMessage:
        """How the camera is doing; trouble: what keeps all cameras from detections."""
        files, stats = engine.files, self.stats
        state, reason = stats.state(trouble)
        return StatusMessage(
            camera=self._camera,
            session=self._session,
            seq=self._status_seq,
            published_ns=time.time_ns(),
            state=state,
            reason=reason,
            labels=files.labels,
            model=files.name,
            manifest=files.manifest_digest,
            width=stats.width,
            height=stats.height,
            fps=stats.fps(),
            captured=stats.captured,
            published=stats.published,
            dropped=stats.dropped,
            latency_us=stats.latency_us(),
            timing_us=stats.timing_us(),
            temperatures_c=temperatures_c,
        )

    def send_status(self, status: StatusMessage) -> None:
        """Publish a status."""
        self._sender.send(status)
        self._status_seq += 1

    def _send_picture(self, frame: Frame, message: DetectionsMessage) -> None:
        ok, jpeg = cv2.imencode(
            ".jpg", frame.bgr(), [cv2.IMWRITE_JPEG_QUALITY, self._publish.jpeg_quality]
        )
        if not ok:
            raise InferenceError(f"camera {frame.camera}: OpenCV cannot encode a JPEG")
        self._sender.send(FrameMessage.of(message, np.asarray(jpeg).tobytes()))
