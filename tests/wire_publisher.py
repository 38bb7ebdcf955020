"""A small publisher of wire messages, in this process or as `python wire_publisher.py ENDPOINT`."""

from __future__ import annotations

import argparse
import time

import numpy as np
import zmq

from npud.detections import Detections
from npud.messages import STAGES, DetectionsMessage, FrameMessage, Message, StatusMessage
from npud.wire import encode, new_session

LABELS = ("person", "bicycle", "car")
MODEL = "yolo26n@0123456789ab"


def detections(count: int = 3) -> Detections:
    rows = np.arange(count, dtype=np.float32)
    boxes = np.stack([rows * 10, rows * 10 + 1, rows * 10 + 20.5, rows * 10 + 40.25], axis=1)
    scores = np.linspace(0.9, 0.3, count, dtype=np.float32)
    return Detections(boxes, scores, np.resize(np.array([0, 0, 2], np.int32), count))


class Wire:
    """A PUB socket of one daemon run; keeps the sequence numbers."""

    def __init__(self, endpoint: str, context: zmq.Context | None = None) -> None:
        self._own = context is None
        self._context = context or zmq.Context()
        self.socket = self._context.socket(zmq.PUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.endpoint = endpoint
        self.socket.bind(endpoint)
        self.session = new_session()
        self._seq: dict[tuple[str, str], int] = {}

    def next_seq(self, kind: str, camera: str) -> int:
        seq = self._seq.get((kind, camera), 0)
        self._seq[kind, camera] = seq + 1
        return seq

    def send(self, message: Message) -> None:
        self.socket.send_multipart(encode(message))

    def make_detections(self, camera: str = "front", **changes) -> DetectionsMessage:
        now = time.time_ns()
        values = {
            "camera": camera,
            "session": self.session,
            "seq": self.next_seq("detections", camera),
            "frame": 7,
            "captured_ns": now - 12_000_000,
            "published_ns": now,
            "width": 1920,
            "height": 1080,
            "model": MODEL,
            "timing_us": dict(zip(STAGES, (120, 310, 9800, 45))),
            "dropped": 0,
            "detections": detections(),
        }
        return DetectionsMessage(**values | changes)

    def make_status(self, camera: str = "front", **changes) -> StatusMessage:
        values = {
            "camera": camera,
            "session": self.session,
            "seq": self.next_seq("status", camera),
            "published_ns": time.time_ns(),
            "state": "ok",
            "labels": LABELS,
            "model": MODEL,
            "manifest": "0123456789ab",
            "width": 1920,
            "height": 1080,
            "fps": 29.97,
            "captured": 300,
            "published": 299,
            "dropped": 1,
            "latency_us": {"p50": 11800, "p95": 13100, "p99": 15200, "max": 16400},
            "timing_us": dict(zip(STAGES, (120, 310, 9800, 45))),
            "temperatures_c": {"soc": 51.3},
        }
        return StatusMessage(**values | changes)

    def make_frame(self, camera: str = "front", **changes) -> FrameMessage:
        values = {
            "camera": camera,
            "session": self.session,
            "seq": self.next_seq("frames", camera),
            "frame": 7,
            "captured_ns": time.time_ns(),
            "width": 1920,
            "height": 1080,
            "jpeg": b"\xff\xd8\xff\xd9",
        }
        return FrameMessage(**values | changes)

    def close(self) -> None:
        self.socket.close()
        if self._own:
            self._context.term()


def main() -> None:
    """Publish like a daemon with cameras at 25 frames a second, until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("--cameras", default="front")
    parser.add_argument("--state", default="ok")
    parser.add_argument("--silent-after", type=float, default=1e9, metavar="S")
    options = parser.parse_args()
    wire = Wire(options.endpoint)
    start, tick = time.monotonic(), 0
    while time.monotonic() - start < 3600:
        if time.monotonic() - start < options.silent_after:
            for camera in options.cameras.split(","):
                if tick % 5 == 0:  # more often than a daemon: the tests need not wait
                    reason = "" if options.state == "ok" else "inference missed 3 deadlines"
                    wire.send(wire.make_status(camera, state=options.state, reason=reason))
                wire.send(wire.make_detections(camera, frame=tick))
        tick += 1
        time.sleep(0.04)


if __name__ == "__main__":
    main()
