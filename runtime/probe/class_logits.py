"""What became of the class logits against those of the reference: squeezed, shifted, scaled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postprocess.plan import Activation
from runtime.golden.tensors import Key, Values
from runtime.golden.verdict import Verdict
from runtime.models.finding import Finding
from runtime.probe import limits
from runtime.probe.symptoms import as_logits

Logits = NDArray[np.float64]
LOWEST = -6.0  # logit below which 8-bit probabilities are all 0

CALIBRATION = (
    "calibrate on pixels of 0..255 with the scale in the conversion only (divided twice, or not at "
    "all, does this), with 20 or more typical pictures"
)
DEQUANTIZATION = "check scale and zero point that the class outputs are dequantized with"
BIAS = (
    "check the zero point of the class outputs and the bias of the last convolutions; convert "
    "again with the class branch in 16 bits"
)
SIGMOID = (
    "a sigmoid that the NPU computes in half floats does that: cut it off the model (npud prepare "
    "--sigmoid cpu), and compare both on the board"
)


class Pairs(NamedTuple):
    """Best class logits of the same cells, (N,) each; by rank where cells cannot be told.

    Only those that the reference has above LOWEST.  spread: standard deviation over the
    reference's, of all cells where both are logits.
    """

    before: Logits
    after: Logits
    by_rank: bool
    spread: float


def finding(
    now: dict[Key, Values], activation: Activation, known: dict[Key, Values], verdict: Verdict
) -> Finding:
    """Why a model is not as its reference, as far as class logits show; else the golden's words."""
    unlike = Finding("not_like_reference", "problem", verdict.reason, verdict.remedy)
    found = pairs(now, activation, known)
    if found is None:
        return unlike
    ratio = _ratio(found)
    if ratio is not None:
        text = f"{verdict.reason}; class scores are {ratio:.2f} times the reference's, all alike"
        return Finding("low_scores", "problem", text, SIGMOID)
    alike = float(np.corrcoef(found.before, found.after)[0, 1])
    slope, shift = found.spread, verdict.figures.peak_shift
    text = f"{verdict.reason}; class logits spread {slope:.2f} times as far as the reference's"
    text += "" if found.by_rank else f", with a correlation of {alike:.2f}"
    if slope < limits.SLOPE[0] and shift < -limits.SHIFT:
        return Finding("collapsed_logits", "problem", text, CALIBRATION)
    if not alike >= limits.UNLIKE:
        return unlike
    if slope > limits.SLOPE[1] and shift > limits.SHIFT:
        return Finding("saturated_scores", "problem", text, DEQUANTIZATION)
    if abs(shift) > limits.SHIFT:
        return Finding("shifted_logits", "problem", text, BIAS)
    return Finding("not_like_reference", "problem", text, verdict.remedy)


def pairs(now: dict[Key, Values], activation: Activation, known: dict[Key, Values]) -> Pairs | None:
    """Cell by cell where both have the same cells, in whatever outputs; else rank by rank."""
    after = _joined(now, activation)
    before = _joined(known, None)
    if after is None:
        return None
    by_rank = before is None or len(before) != len(after)
    if before is None:  # an end2end head: its rows are the best scores of all
        rows = known.get(Key("obj", 0))
        if rows is None:
            return None
        before = as_logits(rows, "probabilities").ravel().astype(np.float64)
        classes = np.concatenate([v.ravel() for k, v in now.items() if k.role == "cls"])
        after = as_logits(classes, activation).astype(np.float64)
    if by_rank:
        count = min(len(before), len(after))
        before, after = np.sort(before)[-count:], np.sort(after)[-count:]
    seen = before > LOWEST
    if seen.sum() < limits.LEAST_PAIRS or not np.ptp(before[seen]) or not np.ptp(after[seen]):
        return None
    every = before.min() < LOWEST - 1 and activation == "logits"  # no probabilities, cut off there
    of = slice(None) if every and not by_rank else seen
    return Pairs(before[seen], after[seen], by_rank, float(after[of].std() / before[of].std()))


def _joined(values: dict[Key, Values], activation: Activation | None) -> Logits | None:
    """The best class logit of every cell, strides ascending: the order that flat heads have."""
    arrays = [values[key] for key in sorted(values) if key.role == "cls"]
    if not arrays or not all(np.isfinite(array).all() for array in arrays):
        return None
    if activation is None:
        inside = all(a.min() >= -0.02 and a.max() <= 1.02 for a in arrays)
        activation = "probabilities" if inside else "logits"
    best = [as_logits(array.max(axis=1), activation) for array in arrays]
    return np.concatenate(best).astype(np.float64)


def _ratio(found: Pairs) -> float | None:
    """Scores over the reference's, where that is the same number for all that matter, below 1."""
    wanted, got = (1 / (1 + np.exp(-logits)) for logits in (found.before, found.after))
    seen = wanted > limits.LIKELY
    if seen.sum() < limits.LEAST_COUNT:
        return None
    ratios = got[seen] / wanted[seen]
    middle = float(np.median(ratios))
    alike = float(np.abs(ratios - middle).max()) < limits.ALIKE * middle
    return middle if alike and middle < 1 - limits.ALIKE else None
