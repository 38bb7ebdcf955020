"""Judging a model by its golden sample: detections and the highest logit; cosines only beside them.

Cosine similarity misleads: a model that finds nothing, for calibration data that was scaled twice,
has higher cosines than a healthy one.  Where the limits come from: docs/golden.md.
"""

from __future__ import annotations

import math

import numpy as np

from npud.detections import Detections, label_of
from postprocess.plan import Activation
from runtime.accuracy.matching import match
from runtime.detector import Detector
from runtime.frame import Frame
from runtime.golden.reference import Output, Reference, find, how_fed, reaching
from runtime.golden.symptoms import diagnose
from runtime.golden.tensors import (
    Key,
    Statistics,
    Values,
    by_meaning,
    cosine,
    peak,
    probabilities,
    statistics,
)
from runtime.golden.verdict import Agreement, Figures, Verdict
from runtime.models.manifest import Golden

SATURATED = 4.6  # logit of 0.99: 8-bit probabilities cannot tell what lies above


def judge(detector: Detector, reference: Reference, limits: Golden) -> Verdict:
    """Run the golden picture through a model and compare.  Raises InferenceError."""
    figures = measure(detector, reference)
    level, reason, remedy = diagnose(figures, limits)
    unlike = _unlike(detector, reference)
    if unlike and level == "ok" and unlike[0].startswith("label"):
        level, reason, remedy = "degraded", unlike[0], "state the model's own labels"
    elif unlike and level != "ok":
        remedy = f"first of all: {'; '.join(unlike)}; {remedy}"
    return Verdict(level, reason, remedy, figures, tuple(unlike))


def measure(detector: Detector, reference: Reference) -> Figures:
    """All figures; detections at the thresholds of the reference, whatever the detector's own."""
    meta, expected = reference.meta, reference.found
    seen = detector.observe(Frame(reference.pixels))
    found = find(detector, seen, meta.score_threshold, meta.iou_threshold, meta.max_detections)
    values = by_meaning(detector.plan, detector.backend.outputs, seen.outputs)
    pairs = match(expected, found)
    before, now = (reaching(one, meta.score_threshold) for one in (expected, found))
    counted = before[pairs.a]
    shifts = (found.scores[pairs.b] - expected.scores[pairs.a])[counted]
    highest, known = peak(values, detector.plan.activation), meta.peak
    if "probabilities" in (meta.activation, detector.plan.activation):
        highest, known = min(highest, SATURATED), min(known, SATURATED)
    return Figures(
        reference=int(before.sum()),
        found=int(now.sum()),
        matched=int(counted.sum()),
        weaker=int((counted & ~now[pairs.b]).sum()),
        matched_any=int(before[match(_classless(expected), _classless(found)).a].sum()),
        extra=int(now[pairs.only_b].sum()),
        score_shift=float(shifts.mean()) if len(shifts) else math.nan,
        iou=float(pairs.iou[counted].mean()) if len(shifts) else math.nan,
        peak=highest,
        reference_peak=known,
        outputs=_agreements(values, detector.plan.activation, reference),
    )


def _agreements(
    values: dict[Key, Values], activation: Activation, reference: Reference
) -> tuple[Agreement, ...]:
    known = {Key(output.role, output.stride): output for output in reference.meta.outputs}
    outputs = reference.outputs | _split(reference, values)
    result = []
    for key, now in sorted(values.items()):
        then = outputs.get(key)
        similar = None
        if then is not None and reference.meta.head != "end2end":  # rows have no order
            as_meant, then_meant = now, then
            if key.role != "box" and activation != reference.meta.activation:
                as_meant = probabilities(now, activation)
                then_meant = probabilities(then, reference.meta.activation)
            similar = cosine(as_meant, then_meant)
        before = known.get(key)
        stated = None
        if similar is not None and then is not None:
            stated = _stated(before) if before else statistics(then)
        result.append(Agreement(key, statistics(now), stated, similar))
    return tuple(result)


def _split(reference: Reference, values: dict[Key, Values]) -> dict[Key, Values]:
    """Class values of a flat reference at the strides of a model that was cut from it.

    Exporters join the strides in ascending order; where the cells are not as many, nothing is said.
    """
    joined = reference.outputs.get(Key("cls", 0))
    strides = sorted(key.stride for key in values if key.role == "cls")
    cells = [len(values[Key("cls", stride)]) for stride in strides]
    if reference.meta.head != "flat" or joined is None or sum(cells) != len(joined):
        return {}
    parts = np.split(joined, np.cumsum(cells)[:-1])
    return {Key("cls", stride): part for stride, part in zip(strides, parts)}


def _stated(output: Output) -> Statistics:
    low, high, mean, std = (
        math.nan if value is None else value
        for value in (output.min, output.max, output.mean, output.std)
    )
    return Statistics(low, high, mean, std, 0)


def _unlike(detector: Detector, reference: Reference) -> list[str]:
    """In what the model is fed or labelled otherwise than the reference was."""
    meta, found = reference.meta, []
    labels = detector.files.labels
    if meta.labels and labels and meta.labels != labels:
        size = max(len(meta.labels), len(labels))
        first = next(i for i in range(size) if meta.labels[i : i + 1] != labels[i : i + 1])
        ours, theirs = label_of(labels, first), label_of(meta.labels, first)
        found.append(f'label {first} is "{ours}", the reference model\'s "{theirs}"')
    now = how_fed(detector.input)
    for key in meta.fed.keys() & now.keys():
        if meta.fed[key] != now[key]:
            found.append(f"input.{key} is {now[key]}, the reference was made with {meta.fed[key]}")
    return sorted(found, key=lambda text: not text.startswith("label"))


def _classless(found: Detections) -> Detections:
    return Detections(found.boxes, found.scores, np.zeros_like(found.class_ids))
