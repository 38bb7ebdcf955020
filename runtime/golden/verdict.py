"""Verdict: how a model did on the golden picture, in figures and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from runtime.golden.tensors import Key, Statistics

Level = Literal["ok", "degraded", "dead"]


@dataclass(frozen=True)
class Agreement:
    """One output of the model: its statistics, and its cosine with the reference's.

    cosine is None where the reference has no output of this meaning and shape.
    """

    key: Key
    now: Statistics
    reference: Statistics | None
    cosine: float | None


@dataclass(frozen=True)
class Figures:
    """What was measured.

    reference and found count detections at the threshold.  matched are those of the reference that
    are found again (same class, IoU ≥ 0.5), of which `weaker` only below the threshold (to half of
    it); matched_any those whatever the class.  extra were found and are not in the reference, not
    even below the threshold.  score_shift is the mean of (now - reference) over what is matched,
    iou the mean overlap; peak the highest class logit.
    """

    reference: int
    found: int
    matched: int
    weaker: int
    matched_any: int
    extra: int
    score_shift: float
    iou: float
    peak: float
    reference_peak: float
    outputs: tuple[Agreement, ...] = ()

    @property
    def share(self) -> float:
        """Matched reference detections, of all."""
        return self.matched / self.reference

    @property
    def peak_shift(self) -> float:
        """How much higher the highest class logit is."""
        return self.peak - self.reference_peak

    @property
    def least_cosine(self) -> float | None:
        """The lowest cosine of all outputs, None where none can be compared."""
        known = [output.cosine for output in self.outputs if output.cosine is not None]
        return min(known, default=None)

    @property
    def odd(self) -> int:
        """Values that are NaN or infinite."""
        return sum(output.now.odd for output in self.outputs)


@dataclass(frozen=True)
class Verdict:
    """The judgement: `reason` says what is wrong ("" where nothing is), `remedy` what to do."""

    level: Level
    reason: str
    remedy: str
    figures: Figures
    notes: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether the model may be trusted."""
        return self.level == "ok"

    def __str__(self) -> str:
        f = self.figures
        if self.reason:
            return f"golden sample: {self.level}: {self.reason}; {self.remedy}"
        counts = f"{f.matched} of {f.reference} reference detections found, {f.extra} others"
        return f"golden sample: ok: {counts}; highest class logit {f.peak_shift:+.2f}"


class Outcome(NamedTuple):
    """What is left of a verdict once a model runs: words, "" without a golden sample."""

    text: str = ""
    healthy: bool = True

    @property
    def doubt(self) -> str:
        """Why detections are not to be trusted, or ""."""
        return "" if self.healthy else self.text


def number(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return round(value, 6) if math.isfinite(value) else None
