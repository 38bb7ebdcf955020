"""What is wrong with a model, and why most likely, from how it did on the golden picture.

Symptoms and causes as measured with the vendors' toolchains: docs/golden.md has the table.
"""

from __future__ import annotations

from runtime.golden.verdict import Figures, Level
from runtime.models.manifest import Golden

FLOOD = 10  # times as many detections as the reference
Diagnosis = tuple[Level, str, str]  # level, what is wrong, likely cause and remedy

CONVERT_AGAIN = "convert it again; if it stays so, look for an overflow of half floats"
SCALE_OF_PIXELS = (
    "pixels that reach the network unscaled (0..255), a second sigmoid or a wrong head do that: "
    "check the scale in the conversion, activation and head"
)
SCALE_OF_CALIBRATION = (
    "most often the calibration data were divided by 255 and by the scale of the conversion too, "
    "or by neither: calibrate on pixels of 0..255, with the scale in the conversion only"
)
GEOMETRY = "check letterbox and input size, the head with its strides and anchors, and the scale"
CLASSES = "check the order of the classes, and that of the outputs"
CALIBRATION = (
    "check the order of the colours, then the calibration: 20 or more typical pictures, in the "
    "layout that the network has; not kl, not max"
)
SUPPRESSION = "check nms and iou_threshold, then the scale of the pixels"
SIGMOID = (
    "check the activation and the scale of the pixels; a sigmoid in half floats on the NPU is best "
    "cut off the model"
)


def diagnose(f: Figures, limits: Golden) -> Diagnosis:
    """Judge the figures; the plainest fault first, ("ok", "", "") without one."""
    if f.odd:
        return "dead", f"{f.odd} values of its outputs are NaN or infinite", CONVERT_AGAIN
    if f.found > FLOOD * f.reference:
        flood = f"it finds {f.found} objects where the reference has {f.reference}"
        return "dead", flood, SCALE_OF_PIXELS
    if not f.found:
        why = f"its highest class logit is {f.peak:.1f}, the reference's {f.reference_peak:.1f}"
        return "dead", f"it finds nothing: {why}", SCALE_OF_CALIBRATION
    if f.matched + f.matched_any == 0:
        return "dead", "what it finds is nowhere near what the reference has", GEOMETRY
    return _missing(f, limits) or _shifted(f, limits) or ("ok", "", "")


def _missing(f: Figures, limits: Golden) -> Diagnosis | None:
    """Detections that are missing, and those that are too many."""
    if f.share < limits.min_matched <= f.matched_any / f.reference:
        level: Level = "degraded" if f.matched else "dead"
        right = f"{f.matched_any} boxes are right, but only {f.matched} of their classes"
        return level, right, CLASSES
    if f.share < limits.min_matched:
        expected = f"{100 * limits.min_matched:.0f} % are expected"
        few = f"it finds {f.matched} of {f.reference} reference detections, {expected}"
        return "degraded", few, CALIBRATION
    if f.extra > limits.max_extra * f.reference:
        more = f"it finds {f.extra} objects more than the {f.reference} of the reference"
        return "degraded", more, SUPPRESSION
    return None


def _shifted(f: Figures, limits: Golden) -> Diagnosis | None:
    """Scores that are too high or too low."""
    if not -limits.max_logit <= f.peak_shift <= 2 * limits.max_logit:
        peaks = f"its highest class logit is {f.peak:.1f}, the reference's {f.reference_peak:.1f}"
        return "degraded", peaks, CALIBRATION
    if abs(f.score_shift) > limits.max_score_shift:
        shift = f"scores of the same objects differ by {f.score_shift:+.2f} on average"
        return "degraded", shift, SIGMOID
    return None
