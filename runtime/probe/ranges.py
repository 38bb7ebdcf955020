"""What a range of class values alone says: for figures that somebody has written down."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runtime.models.finding import Finding
from runtime.models.score_findings import SCORE_THRESHOLD
from runtime.probe.symptoms import SATURATED, SIGMOIDS, logit

# Measured: yolo26n on eight pictures with the RDK X5's toolchain (docs/probe.md).
MEASURED = (
    ("healthy", -107.0, 4.2),
    ("calibration data divided by 255 twice", -28.0, -7.9),
    ("calibration data divided by 255, no scale in the conversion", -66.0, -1.3),
    ("calibration skipped", -15.5, -7.1),
    ("calibration data all zero", -30.0, -7.9),
    ("float model fed 0..255", -1412.0, 52.0),
)


@dataclass(frozen=True)
class Range:
    """Lowest and highest class value of one run; `name` is what the user calls it."""

    name: str
    low: float
    high: float

    @property
    def is_float(self) -> bool:
        """Whether it is the float model's."""
        return self.name.lower() in ("float", "fp32", "float32", "onnx", "reference")

    def __str__(self) -> str:
        return f"{self.name} [{self.low:g}, {self.high:g}]"


def judge(ranges: list[Range]) -> list[Finding]:
    """A finding for each range, and one for what they say together."""
    found = [_one(one) for one in ranges]
    reference = next((r for r in ranges if r.is_float), None)
    others = [r for r in ranges if not r.is_float]
    for other in others if reference else []:
        found.append(_pair(reference, other))  # type: ignore[arg-type]
    return found


def _one(r: Range) -> Finding:
    if r.low >= SIGMOIDS[0] - 0.012 and r.high <= SIGMOIDS[1] + 0.012:
        text = f"{r}: where a second sigmoid puts probabilities (0.5 to 0.731)"
        return Finding("double_sigmoid", "problem", text, "remove one of the two sigmoids")
    if r.low >= -0.012 and r.high <= 1.012:
        return _probabilities(r)
    score = 1 / (1 + math.exp(-max(min(r.high, 60.0), -60.0)))
    text = f"{r}: logits; the highest score is σ({r.high:g}) = {score:.2g}"
    if r.high > SATURATED:
        text += "; healthy ones stay below about 7: pixels of 0..255 reached the network unscaled"
        text += " (measured so: [-1412, 52])"
        return Finding("not_scaled", "problem", text, "feed pixel / 255, and look again")
    if r.high < 0:
        text += f", {_below(score)}; healthy models reach 2 to 4 where there is something to see"
        remedy = "without a float run on the same picture a picture without objects looks the same"
        return Finding("collapsed_logits", "problem", text, remedy)
    return Finding("range", "ok", f"{text}: nothing against it")


def _below(score: float) -> str:
    if score < SCORE_THRESHOLD:
        return f"below the usual threshold of {SCORE_THRESHOLD:g}"
    return "so that nothing passes 0.45 or 0.5, and little 0.25"


def _probabilities(r: Range) -> Finding:
    text = f"{r}: probabilities"
    if r.high <= 0:
        text += ", all 0: boxes in pixels and scores in one int8 tensor do that"
        return Finding("concatenated_int8", "problem", text, "cut the model: npud prepare")
    if r.high < SCORE_THRESHOLD:
        text += f", none above the usual threshold of {SCORE_THRESHOLD:g}"
        return Finding("collapsed_logits", "problem", text, "compare with the float model")
    return Finding("range", "ok", f"{text}: nothing against it")


def _pair(reference: Range, other: Range) -> Finding:
    """The float run and another one of the same picture."""
    command = "npud probe INT8_MODEL IMAGE --reference FLOAT_MODEL"
    top = reference.high if reference.low < -0.012 else logit(reference.high)
    if top > SATURATED and other.high < 0:
        text = (
            f"{reference} and {other} are no pair: the float run was fed 0..255, so it shows what "
            f"a wrong scale does, not what is right.  The {other.name} range is collapsed, as "
            f"measured with {_like(other)}"
        )
        remedy = (
            "run the float model on pixel / 255; calibrate on pixels of 0..255 with the scale in "
            "the conversion only, 20 or more typical pictures, and compare again"
        )
        return Finding("scaled_twice", "problem", text, remedy, command)
    shift = (other.high if other.low < -0.012 else logit(other.high)) - top
    if shift < -1:
        text = f"the highest class logit falls by {-shift:.1f}: collapsed, as with {_like(other)}"
        remedy = "check the scale in calibration and conversion first, then the pictures"
        return Finding("collapsed_logits", "problem", text, remedy, command)
    text = f"the highest class logit differs by {shift:+.1f}"
    return Finding("pair", "ok", text, "ranges do not show boxes: compare detections", command)


def _like(r: Range) -> str:
    """The measured causes of such a range, each with its own."""
    fitting = [row for row in MEASURED if row[2] < 0]
    return "; ".join(f"{cause} [{low:g}, {high:g}]" for cause, low, high in fitting[:3])
