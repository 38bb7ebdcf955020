"""Checks of the class scores' quantization: whether anything is left of them.

The figures are the vendors' toolchains' own; docs/model-files.md has the table.
"""

from __future__ import annotations

import math

from postprocess.tensor import TensorSpec
from runtime.models.evidence import representable
from runtime.models.finding import Finding, Level, Subject
from runtime.models.info import Grid

SCORE_THRESHOLD = 0.25  # the config's default
FINE = 0.004  # a step that costs nothing: that of int8 probabilities
COARSE = 0.02  # a step that costs detections: 0.0194 found 57 of 69
CUT = (
    "cut the ONNX model before its box decoding, so that boxes and class scores are outputs of "
    "their own for each stride, and convert that"
)


def shared_tensor(subject: Subject) -> Finding | None:
    """Scores that share a quantized tensor with boxes in pixels."""
    for spec, grid in _shared(subject):
        step = float(grid.quantization.scale)
        if step <= FINE:
            continue
        left = "every score is exactly 0" if step > 2 else f"scores move in steps of {step:.3g}"
        text = f"{spec.name} holds boxes and scores in one {grid.dtype.name} tensor of step "
        text += f"{step:.3g}: {left}"
        return Finding("shared_tensor", "problem" if step > COARSE else "warning", text, CUT)
    return _joined(subject)


def _joined(subject: Subject) -> Finding | None:
    """The same before quantization: a float model that joins boxes and scores at its end."""
    info, plan = subject.info, subject.plan
    if plan is None or plan.head != "flat" or info.grids:
        return None
    name = info.outputs[plan.levels[0].cls].name
    origin = info.origins.get(name)
    if origin is None or origin.parts < 2:
        return None
    text = f"{name} joins pixel boxes and scores: right in floats, no score would survive int8"
    level: Level = "warning" if subject.target else "ok"
    return Finding("shared_tensor", level, text, f"for a board, {CUT}")


def reachable_scores(subject: Subject) -> Finding | None:
    """Class scores that the quantization lets rise above the threshold."""
    highest = [h for h in _highest_scores(subject) if h is not None]
    if not highest or subject.plan is None:
        return None
    shown = ", ".join(f"{score:.2f}" for score in highest)
    low = [score for score in highest if score < SCORE_THRESHOLD]
    strides = "/".join(str(level.stride) for level in subject.plan.levels)
    text = f"scores can reach {shown} at strides {strides}"
    if not low:
        return Finding("reachable_scores", "ok", text)
    remedy = "calibrate with pictures that show objects of all sizes, and convert again"
    level: Level = "problem" if len(low) == len(highest) else "warning"
    text += f": not the threshold of {SCORE_THRESHOLD}"
    return Finding("reachable_scores", level, text, remedy)


def score_steps(subject: Subject) -> Finding | None:
    """Steps between neighbouring scores, from the grid of the class outputs."""
    if subject.plan is None or any(_shared(subject)):
        return None
    grids = [g for level in subject.plan.levels if (g := _grid(subject, level.cls))]
    scales = [float(g.quantization.scale.max()) for g in grids if g.dtype.itemsize < 4]
    if not scales:
        return None
    slope = 0.25 if subject.plan.activation == "logits" else 1.0  # of the sigmoid in the middle
    step = max(scales) * slope
    text = f"scores near 0.5 move in steps of {step:.2g}"
    if step < 0.1:
        return Finding("score_steps", "ok", text)
    remedy = "keep the class branch in 16 bits, or put the sigmoid into the graph before converting"
    return Finding("score_steps", "warning", text, remedy)


def _grid(subject: Subject, output: int) -> Grid | None:
    return subject.info.grids.get(subject.info.outputs[output].name)


def _shared(subject: Subject) -> list[tuple[TensorSpec, Grid]]:
    """Quantized outputs that hold pixel boxes and scores under one scale."""
    outputs, plan = subject.info.outputs, subject.plan
    if plan is None:
        indices = [0] if len(outputs) == 1 else []
    elif plan.head == "anchor":  # sigmoids and small offsets, no pixels
        indices = []
    else:
        indices = [level.cls for level in plan.levels if level.cls == level.box]
    found = [(outputs[i], grid) for i in indices if (grid := _grid(subject, i))]
    return [(spec, grid) for spec, grid in found if not grid.quantization.scale.ndim]


def _highest_scores(subject: Subject) -> list[float | None]:
    """Per level: the highest class score that the grid can hold, None where it is not limited."""
    if subject.plan is None or any(_shared(subject)):
        return []
    found: list[float | None] = []
    for level in subject.plan.levels:
        grid, spec = _grid(subject, level.cls), subject.info.outputs[level.cls]
        span = None
        if grid is not None and level.cls != level.box:
            stored = TensorSpec(spec.name, spec.shape, grid.dtype, "", grid.quantization)
            span = representable(stored)
        if span is None:
            found.append(None)
        elif subject.plan.activation == "logits":
            found.append(1 / (1 + math.exp(-max(min(span[1], 60.0), -60.0))))
        else:
            found.append(min(span[1], 1.0))
    return found
