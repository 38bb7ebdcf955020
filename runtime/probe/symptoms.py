"""What the numbers of one run alone show, without trying anything: certain causes, by name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from postprocess.plan import Activation
from runtime.golden.tensors import Key, Values
from runtime.models.finding import Finding
from runtime.models.score_findings import COARSE, CUT
from runtime.probe.bench import Outputs
from runtime.probe.outputs import Row

SIGMOIDS = (0.5, 0.7311)  # what a sigmoid makes of 0..1
ROUNDING = 0.012  # of stored probabilities
SATURATED = 9.2  # logit of 0.9999; healthy ones stay below about 7
STUCK = 0.002  # share of class values at the upper end of an integer type

OVERFLOW = (
    "convert it again; if it stays so, look for an overflow of half floats (SiLU, softmax), and "
    "keep those layers in 16 bits or float32"
)
NOT_RUN = (
    "the NPU did not run, its output buffers were not read, or the last layers are cut off: "
    "compare with the same model on another backend, and check the runtime's version (npud doctor)"
)


def certain(seen: Sequence[Outputs]) -> Finding | None:
    """The first symptom that leaves no doubt, over all pictures."""
    return _odd(seen) or _constant(seen) or _activation(seen)


def _classes(seen: Sequence[Outputs], *roles: str) -> list[Values]:
    return [v for one in seen for key, v in one.values.items() if key.role in roles]


def _odd(seen: Sequence[Outputs]) -> Finding | None:
    arrays = [v for one in seen for v in one.values.values()]
    odd = sum(int((~np.isfinite(array)).sum()) for array in arrays)
    if not odd:
        return None
    text = f"{odd} of {sum(a.size for a in arrays)} values of its outputs are NaN or infinite"
    return Finding("nan_outputs", "problem", text, OVERFLOW)


def _constant(seen: Sequence[Outputs]) -> Finding | None:
    """Outputs that hold one value each: the classes' alone are enough."""
    values: dict[Key, list[Values]] = {}
    for one in seen:
        for key, array in one.values.items():
            values.setdefault(key, []).append(array)
    flat = {key: float(a[0].flat[0]) for key, a in values.items() if all(np.ptp(x) == 0 for x in a)}
    dead = [key for key in values if key.role == "cls" or (key.role == "obj" and key.stride == 0)]
    if not dead or not all(key in flat for key in dead):
        return None
    step = _step(seen[0])
    if step is not None and all(flat[key] == 0 for key in dead):
        text = (
            f"every score is 0, boxes move in steps of {step:.3g}: they and the scores share one "
        )
        text += "8-bit scale inside the graph"
        return Finding("concatenated_int8", "problem", text, CUT)
    which = "all outputs" if len(flat) == len(values) else "the class outputs"
    text = f"{which} hold one value only: {', '.join(f'{flat[key]:g}' for key in dead)}"
    return Finding("zero_outputs", "problem", text, NOT_RUN)


def _step(seen: Outputs) -> float | None:
    """The step between box values in pixels, where they lie on a coarse grid of 8 bits."""
    if seen.plan.head not in ("flat", "boxes_scores", "end2end"):
        return None
    levels = np.unique(np.concatenate([v.ravel() for k, v in seen.values.items() if k[0] == "box"]))
    if not 2 < len(levels) <= 256:
        return None
    step = float(np.diff(levels).min())
    return step if step > COARSE else None


def _activation(seen: Sequence[Outputs]) -> Finding | None:
    plan = seen[0].plan
    roles = ("obj",) if plan.head == "end2end" else ("cls", "obj")
    arrays = _classes(seen, *roles)
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    span = f"the class outputs hold {low:.3g} to {high:.3g}"
    stated = f"they are read as {plan.activation} ({plan.evidence})"
    if plan.activation == "logits" and low >= -ROUNDING and high <= 1 + ROUNDING:
        text = f"{span}, which are probabilities, but {stated}: a second sigmoid is applied"
        remedy = 'say activation = "probabilities" in the manifest, or leave it out'
        return Finding("double_sigmoid", "problem", text, remedy)
    if plan.activation == "logits":
        return None
    if low < -ROUNDING or high > 1 + ROUNDING:
        if low > -1e-2 * high:  # pixels or counts, not logits
            return None
        text = f"{span}, which are logits, but {stated}: a sigmoid is missing"
        remedy = 'say activation = "logits" in the manifest'
        if plan.head in ("flat", "boxes_scores", "end2end"):
            remedy = "export with the sigmoid in the graph, or cut the head off (npud prepare)"
        return Finding("missing_sigmoid", "problem", text, remedy)
    if low >= SIGMOIDS[0] - ROUNDING and high <= SIGMOIDS[1] + ROUNDING:
        text = f"{span}: exactly where a second sigmoid puts probabilities (0.5 to 0.731)"
        remedy = "remove one of the two sigmoids from the graph or its conversion"
        return Finding("double_sigmoid", "problem", text, remedy)
    return None


def saturated(seen: Sequence[Outputs], rows: Sequence[Row]) -> Finding | None:
    """Scores at the end of their range: what they hold cannot be told apart any more."""
    highest = max((float(array.max()) for array in _classes(seen, "cls")), default=0.0)
    stuck = max((row.stuck for row in rows if row.role in ("cls", "obj")), default=0.0)
    if seen[0].plan.activation == "logits" and highest > SATURATED:
        text = f"the highest class logit is {highest:.1f}, where healthy ones stay below about 7"
    elif stuck > STUCK:
        text = f"{100 * stuck:.1f} % of the class values lie at the upper end of their type"
    else:
        return None
    remedy = (
        "check scale and zero point that the outputs are dequantized with, then the scale of the "
        "pixels; calibrate with more pictures where the range was cut off"
    )
    return Finding("saturated_scores", "problem", text, remedy)


def logit(score: float) -> float:
    """log(p / (1 - p)); ±inf at the ends."""
    if score <= 0 or score >= 1:
        return -math.inf if score <= 0 else math.inf
    return math.log(score) - math.log1p(-score)


def as_logits(values: Values, activation: Activation) -> Values:
    """Class values as logits, probabilities limited to what 8 bits can tell from 0 and 1."""
    if activation == "logits":
        return values
    limited = values.astype(np.float64).clip(1 / 512, 1 - 1 / 512)
    result: Values = np.log(limited / (1 - limited)).astype(np.float32)
    return result
