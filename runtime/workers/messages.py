"""What is said on a lane: a request for each frame, and the answer to it."""

from __future__ import annotations

import msgspec
import numpy as np

from npud.detections import Detections
from runtime.detector import Observation, Timing
from runtime.frame import Format, YuvMatrix, YuvRange
from runtime.recording.messages import Fit


class Request(msgspec.Struct, frozen=True, array_like=True):
    """Where a frame lies in its camera's ring, and how it is to be read.

    ring_bytes: a descriptor of the ring, of so many bytes, comes beside it; 0: it is known.
    observe: the raw outputs are wanted, in the memory whose descriptor comes beside the first.
    """

    id: int
    camera: str
    offset: int
    shape: tuple[int, ...]
    format: Format
    yuv_range: YuvRange
    yuv_matrix: YuvMatrix
    ring_bytes: int = 0
    observe: bool = False


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """What was found, the arrays of a Detections as bytes, and what it took (as in Timing)."""

    id: int
    fit: Fit
    boxes: bytes
    scores: bytes
    class_ids: bytes
    timing: tuple[int, int, int, int, int]
    rss_kib: int

    @classmethod
    def of(cls, number: int, seen: Observation, rss_kib: int) -> Answer:
        """The answer to request `number`."""
        found, timing = seen.found, seen.timing
        return cls(
            number,
            Fit.of(seen.letterbox),
            found.boxes.tobytes(),
            found.scores.tobytes(),
            found.class_ids.tobytes(),
            (timing.preprocess, timing.inference, timing.postprocess, timing.wait, timing.cpu),
            rss_kib,
        )

    def found(self) -> tuple[Detections, Timing]:
        """What was found, as arrays; raises ValueError where they are not of one length."""
        boxes = np.frombuffer(self.boxes, np.float32).reshape(-1, 4)
        scores = np.frombuffer(self.scores, np.float32)
        class_ids = np.frombuffer(self.class_ids, np.int32)
        if not len(boxes) == len(scores) == len(class_ids):
            raise ValueError("expected as many boxes as scores and classes")
        return Detections(boxes, scores, class_ids), Timing(*self.timing)


class Failure(msgspec.Struct, frozen=True, array_like=True, tag="failure"):
    """The frame went wrong in the worker, which goes on: the error's class and text."""

    id: int
    error: str
    text: str
