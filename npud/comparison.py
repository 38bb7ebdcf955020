"""CompareMessage: what an A/B comparison has shown so far for one camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, cast, get_args

from npud._fields import Fields

Mode = Literal["shadow", "split"]
MODES = get_args(Mode)
COUNTS = ("matched", "only_a", "only_b")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareMessage:
    """How variant b of a model differs from a on one camera, over the latest frames.

    frames: pairs of frames (shadow) or frames of both variants (split); skipped: sampled frames
    that b did not get since the board was busy.  values, low and high hold each measure with its
    interval of 95 %, of b less a (docs/ab.md lists them); verdict says in words what is shown.
    spread has p50, p95 and max of what matched boxes differ by, classes the COUNTS of boxes of each
    label; both are empty in split mode.
    """

    kind: ClassVar[str] = "compare"
    camera: str
    session: int
    seq: int
    published_ns: int
    mode: Mode
    model_a: str
    model_b: str
    frames: int
    skipped: int
    verdict: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {"topic": f"{self.kind}/{self.camera}", **asdict(self)}

    def to_wire(self) -> dict[str, Any]:
        """Return the map that is sent, without the version."""
        return asdict(self)

    @classmethod
    def from_fields(cls, camera: str, fields: Fields) -> CompareMessage:
        """Read a received message; raises SubscribeError for a missing or wrong key."""
        return cls(
            camera=camera,
            session=fields.integer("session"),
            seq=fields.integer("seq"),
            published_ns=fields.integer("published_ns"),
            mode=cast(Mode, fields.one_of("mode", MODES)),
            model_a=fields.text("model_a"),
            model_b=fields.text("model_b"),
            frames=fields.integer("frames"),
            skipped=fields.integer("skipped"),
            verdict=fields.texts("verdict"),
            values=fields.numbers("values"),
            low=fields.numbers("low"),
            high=fields.numbers("high"),
            spread=fields.numbers("spread"),
            classes=fields.tables("classes", COUNTS),
        )
