"""How far two models agree: their outputs, role by role and stride by stride, and what they find.

Outputs are paired by what they mean (runtime/golden/tensors.py), as real values, whatever their
names, order, layout and quantization.  A is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections
from postprocess.plan import HeadPlan
from runtime.accuracy.matching import match, renamed_to
from runtime.accuracy.outputs import paired, unlike
from runtime.accuracy.sides import Side
from runtime.accuracy.tally import Limits, Tally
from runtime.detector import Observation
from runtime.frame import Frame
from runtime.golden.tensors import Key, Values, by_meaning

EQUAL_SCORE, EQUAL_IOU = 1e-4, 0.999  # detections that are called equal
ROWS_HAVE_NO_ORDER = "rows of end-to-end heads are compared in the order in which they come"


@dataclass
class Found:
    """Detections of both in one picture, matched one to one at IoU ≥ 0.5 and the same class."""

    picture: str
    a: int
    b: int
    score_a: list[float]  # of the matched
    score_b: list[float]
    iou: list[float]
    lost: list[float]  # scores of those that only A has
    extra: list[float]


@dataclass
class Comparison:
    """All that was compared.  `only_detections` says why outputs were not, or is empty."""

    name_a: str
    name_b: str
    plan_a: HeadPlan
    plan_b: HeadPlan
    only_detections: str
    notes: list[str] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    interrupted: bool = False

    def total(self, name: str) -> int:
        """Sum over the pictures: of "a", "b", or the length of a list."""
        values = [getattr(one, name) for one in self.found]
        return sum(value if isinstance(value, int) else len(value) for value in values)

    def all(self, name: str) -> NDArray[np.float64]:
        """One of the lists, over all pictures."""
        return np.array([value for one in self.found for value in getattr(one, name)], np.float64)

    @property
    def matched_share(self) -> float | None:
        """Matched detections of those of the side that has more; None where neither has any."""
        most = max(self.total("a"), self.total("b"))
        return self.total("iou") / most if most else None

    @property
    def shifts(self) -> NDArray[np.float64]:
        """Score of B minus score of A, per match."""
        return self.all("score_b") - self.all("score_a")


def compare(
    a: Side,
    b: Side,
    frames: Iterable[Frame],
    limits: Limits,
    advance: Callable[[], None] = lambda: None,
) -> Comparison:
    """Run both on all frames; Ctrl-C ends it with what was done.  Raises InferenceError."""
    plan_a, plan_b = a.detector.plan, b.detector.plan
    result = Comparison(
        a.name, b.name, plan_a, plan_b, unlike(plan_a, a.detector.input, plan_b, b.detector.input)
    )
    result.notes = _notes(a, b, result)
    tallies: dict[str, Tally] = {}
    renamed = renamed_to(a.detector.files.labels, b.detector.files.labels)
    try:
        for number, frame in enumerate(frames):
            seen_a, seen_b = a.observe(number, frame), b.observe(number, frame)
            if not result.only_detections:
                values = _values(a, seen_a), _values(b, seen_b)
                for what, x, y in paired(plan_a, values[0], plan_b, values[1]):
                    tallies.setdefault(what, Tally(what)).add(x, y, limits)
            found_b = seen_b.found if renamed is None else renamed(seen_b.found)
            result.found.append(_matched(frame.name, seen_a.found, found_b))
            advance()
    except KeyboardInterrupt:
        result.interrupted = True
    result.tallies = list(tallies.values())
    return result


def _values(side: Side, seen: Observation) -> dict[Key, Values]:
    return by_meaning(side.detector.plan, side.detector.backend.outputs, seen.outputs)


def _notes(a: Side, b: Side, result: Comparison) -> list[str]:
    notes = []
    plan_a, plan_b = result.plan_a, result.plan_b
    if result.only_detections:
        notes.append(f"only detections are compared: {result.only_detections}")
    elif plan_a.activation != plan_b.activation:
        notes.append(f"A has {plan_a.activation}, B {plan_b.activation}: compared as probabilities")
    elif plan_a.head == "end2end":
        notes.append(ROWS_HAVE_NO_ORDER)
    labels_a, labels_b = a.detector.files.labels, b.detector.files.labels
    if labels_a and labels_b and labels_a != labels_b:
        notes.append("the labels differ: detections are matched by name, outputs by channel")
    return notes


def _matched(picture: str, a: Detections, b: Detections) -> Found:
    pairs = match(a, b)
    return Found(
        picture,
        len(a),
        len(b),
        a.scores[pairs.a].tolist(),
        b.scores[pairs.b].tolist(),
        pairs.iou.tolist(),
        a.scores[pairs.only_a].tolist(),
        b.scores[pairs.only_b].tolist(),
    )


def judge(result: Comparison, limits: Limits) -> tuple[str, list[str]]:
    """("equal", "within limits" or "beyond limits", what is beyond)."""
    beyond: list[str] = []
    share, shifts = result.matched_share, np.abs(result.shifts)
    mismatched = sum(tally.mismatched for tally in result.tallies)
    if share is None and (mismatched or not result.tallies):
        beyond.append("neither finds anything in these pictures: nothing to judge by")
    if share is not None and share < limits.min_matched:
        beyond.append(f"matched detections {share:.3f}, expected {limits.min_matched:g} or more")
    if len(shifts) and shifts.mean() > limits.max_score_shift:
        most = f"expected {limits.max_score_shift:g} or less"
        beyond.append(f"mean score shift {shifts.mean():.3f}, {most}")
    for tally in result.tallies:
        share_limit, least = limits.max_mismatched, limits.min_cosine
        if share_limit is not None and tally.mismatched_share > share_limit:
            got, most = f"{tally.mismatched_share:.2%}", f"expected {share_limit:.2%} or less"
            beyond.append(f"{tally.what}: mismatched elements {got}, {most}")
        if least is not None and tally.cosine < least:
            beyond.append(f"{tally.what}: cosine {tally.cosine:.6f}, expected {least:g} or more")
    if beyond:
        return "beyond limits", beyond
    same = share in (None, 1.0) and shifts.max(initial=0) <= EQUAL_SCORE
    if same and not mismatched and result.all("iou").min(initial=1) >= EQUAL_IOU:
        return "equal", []
    return "within limits", []
