"""The messages as Python objects, and the only place that knows the names of their fields.

npud.wire packs them for ZeroMQ; docs/wire-format.md describes every field.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from npud._fields import Fields
from npud.comparison import CompareMessage
from npud.detections import DetectedObject, Detections, label_of

STAGES = ("wait", "preprocess", "inference", "postprocess")
PERCENTILES = ("p50", "p95", "p99", "max")
State = Literal["starting", "ok", "degraded", "stopped"]
STATES = get_args(State)


def _no_latency() -> Mapping[str, int]:
    return dict.fromkeys(PERCENTILES, 0)


def _no_timing() -> Mapping[str, int]:
    return dict.fromkeys(STAGES, 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DetectionsMessage:
    """What was found in one frame of one camera; iterating gives (label, score, box) tuples.

    Boxes are in pixels of the source picture (width × height).  Times are nanoseconds of the
    wall clock; durations are whole microseconds.  `labels` and `lost` are filled in by the
    subscriber: the label list of the model, and how many messages of this camera were lost
    between the previous one and this.
    """

    kind: ClassVar[str] = "detections"
    camera: str
    session: int
    seq: int
    frame: int
    captured_ns: int
    published_ns: int
    width: int
    height: int
    model: str
    timing_us: Mapping[str, int]
    dropped: int
    detections: Detections
    variant: str = ""
    labels: tuple[str, ...] = ()
    lost: int = 0

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) float32, x1, y1, x2, y2 in source pixels."""
        return self.detections.boxes

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,) float32 in [0, 1]."""
        return self.detections.scores

    @property
    def class_ids(self) -> NDArray[np.int32]:
        """(N,) int32, indices into `labels`."""
        return self.detections.class_ids

    def __len__(self) -> int:
        return len(self.detections)

    def __bool__(self) -> bool:
        return True  # also when it has no objects

    def __iter__(self) -> Iterator[DetectedObject]:
        for box, score, class_id in self.detections:
            yield DetectedObject(label_of(self.labels, class_id), score, box)

    def age_ms(self, now_ns: int | None = None) -> float:
        """Milliseconds from capture until now (or `now_ns`); right only on a common clock."""
        return ((time.time_ns() if now_ns is None else now_ns) - self.captured_ns) / 1e6

    def to_supervision(self) -> Any:
        """Convert to `supervision.Detections`; raises ImportError where it is not installed."""
        return self.detections.to_supervision(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON; scores rounded to 0.0001, boxes to 0.01 pixel."""
        plain = self.to_wire() | {"lost": self.lost, "timing_us": dict(self.timing_us)}
        for name in ("boxes", "scores", "class_ids"):
            del plain[name]
        boxes = self.boxes.astype(float).round(2).tolist()
        scores = self.scores.astype(float).round(4).tolist()
        rows = zip(self.class_ids.tolist(), scores, boxes)
        found = [
            {"label": label_of(self.labels, c), "class_id": c, "score": score, "box": box}
            for c, score, box in rows
        ]
        return {"topic": f"{self.kind}/{self.camera}", **plain, "detections": found}

    def to_wire(self) -> dict[str, Any]:
        """Return the map that is sent, without the version."""
        return {
            "session": self.session,
            "camera": self.camera,
            "seq": self.seq,
            "frame": self.frame,
            "captured_ns": self.captured_ns,
            "published_ns": self.published_ns,
            "width": self.width,
            "height": self.height,
            "model": self.model,
            "variant": self.variant,
            "timing_us": self.timing_us,
            "dropped": self.dropped,
            "boxes": self.detections.boxes.tolist(),
            "scores": self.detections.scores.tolist(),
            "class_ids": self.detections.class_ids.tolist(),
        }

    @classmethod
    def from_fields(cls, camera: str, fields: Fields) -> DetectionsMessage:
        """Read a received message; raises SubscribeError for a missing or wrong key."""
        boxes = fields.boxes("boxes")
        scores = fields.scores("scores", len(boxes))
        class_ids = fields.class_ids("class_ids", len(boxes))
        return cls(
            camera=camera,
            session=fields.integer("session"),
            seq=fields.integer("seq"),
            frame=fields.integer("frame"),
            captured_ns=fields.integer("captured_ns"),
            published_ns=fields.integer("published_ns"),
            width=fields.integer("width"),
            height=fields.integer("height"),
            model=fields.text("model"),
            variant=fields.text("variant"),
            timing_us=fields.integers("timing_us", STAGES),
            dropped=fields.integer("dropped"),
            detections=Detections(boxes, scores, class_ids),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusMessage:
    """How one camera is doing, once a second: state, labels of its model, rates and delays.

    `reason` says why the state is not ok; captured, published and dropped count frames since the
    daemon started; `latency_us` is capture to publication; `timing_us` has the means of the stages.
    """

    kind: ClassVar[str] = "status"
    camera: str
    session: int
    seq: int
    published_ns: int
    state: State
    reason: str = ""
    labels: tuple[str, ...] = ()
    model: str = ""
    manifest: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    captured: int = 0
    published: int = 0
    dropped: int = 0
    latency_us: Mapping[str, int] = field(default_factory=_no_latency)
    timing_us: Mapping[str, int] = field(default_factory=_no_timing)
    temperatures_c: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {"topic": f"{self.kind}/{self.camera}", **asdict(self)}

    def to_wire(self) -> dict[str, Any]:
        """Return the map that is sent, without the version."""
        return asdict(self)

    @classmethod
    def from_fields(cls, camera: str, fields: Fields) -> StatusMessage:
        """Read a received message; raises SubscribeError for a missing or wrong key."""
        return cls(
            camera=camera,
            session=fields.integer("session"),
            seq=fields.integer("seq"),
            published_ns=fields.integer("published_ns"),
            state=cast(State, fields.one_of("state", STATES)),
            reason=fields.text("reason"),
            labels=fields.texts("labels"),
            model=fields.text("model"),
            manifest=fields.text("manifest"),
            width=fields.integer("width"),
            height=fields.integer("height"),
            fps=fields.number("fps"),
            captured=fields.integer("captured"),
            published=fields.integer("published"),
            dropped=fields.integer("dropped"),
            latency_us=fields.integers("latency_us", PERCENTILES),
            timing_us=fields.integers("timing_us", STAGES),
            temperatures_c=fields.numbers("temperatures_c"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameMessage:
    """One captured frame as a JPEG of width × height pixels."""

    kind: ClassVar[str] = "frames"
    camera: str
    session: int
    seq: int
    frame: int
    captured_ns: int
    width: int
    height: int
    jpeg: bytes = field(repr=False)

    @classmethod
    def of(cls, message: DetectionsMessage, jpeg: bytes) -> FrameMessage:
        """The picture that belongs to a detections message."""
        return cls(
            camera=message.camera,
            session=message.session,
            seq=message.seq,
            frame=message.frame,
            captured_ns=message.captured_ns,
            width=message.width,
            height=message.height,
            jpeg=jpeg,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON; the JPEG as base64 text."""
        jpeg = base64.b64encode(self.jpeg).decode()
        return {"topic": f"{self.kind}/{self.camera}", **asdict(self), "jpeg": jpeg}

    def to_wire(self) -> dict[str, Any]:
        """Return the map that is sent, without the version."""
        return asdict(self)

    @classmethod
    def from_fields(cls, camera: str, fields: Fields) -> FrameMessage:
        """Read a received message; raises SubscribeError for a missing or wrong key."""
        return cls(
            camera=camera,
            session=fields.integer("session"),
            seq=fields.integer("seq"),
            frame=fields.integer("frame"),
            captured_ns=fields.integer("captured_ns"),
            width=fields.integer("width"),
            height=fields.integer("height"),
            jpeg=fields.binary("jpeg"),
        )


Message = DetectionsMessage | StatusMessage | FrameMessage | CompareMessage
