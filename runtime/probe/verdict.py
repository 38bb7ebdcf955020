"""Verdict: what is wrong with a model on these pictures, and why, from figures alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from npud.errors import ConfigError, ModelError
from runtime.golden.tensors import Key, Values
from runtime.golden.verdict import Verdict
from runtime.models.finding import Finding
from runtime.probe import class_logits, hypotheses, limits, symptoms
from runtime.probe.bench import Bench, Trial
from runtime.probe.hypotheses import Hypothesis
from runtime.probe.outputs import Row


@dataclass(frozen=True)
class Tried:
    """A hypothesis and how it did."""

    hypothesis: Hypothesis
    trial: Trial


@dataclass(frozen=True)
class Judged:
    """What one set of pictures shows: the deployed setting, all that was tried, the cause."""

    deployed: Trial
    tried: tuple[Tried, ...]
    finding: Finding | None


def by_reference(
    bench: Bench, rows: Sequence[Row], verdict: Verdict, known: dict[Key, Values]
) -> Judged:
    """With the answer at hand: the cause is what brings the detections nearest to it.

    `known` are the reference's outputs for the first picture, `verdict` the golden judgement.
    """
    deployed, seen = bench.trial(bench.deployed), [o for o, _ in bench.run(bench.deployed)]
    sure = symptoms.certain(seen)
    if sure is not None:
        return Judged(deployed, (), sure)
    tried = tuple(_try(bench, hypotheses.all_of(bench)))
    best = max(tried, key=lambda one: one.trial.close, default=None)
    if best is not None and _nearer(deployed.close, best):
        return Judged(deployed, tried, _named(best, deployed))
    if verdict.healthy:
        return Judged(deployed, tried, symptoms.saturated(seen, rows))
    finding = class_logits.finding(seen[0].values, seen[0].plan.activation, known, verdict)
    return Judged(deployed, tried, finding)


def alone(bench: Bench, rows: Sequence[Row]) -> Judged:
    """Without a reference: only what the detections say of themselves."""
    deployed = bench.trial(bench.deployed, repeat=True)
    seen = [outputs for outputs, _ in bench.run(bench.deployed)]
    sure = symptoms.certain(seen)
    if sure is not None:
        return Judged(deployed, (), sure)
    tried = tuple(_try(bench, hypotheses.all_of(bench)))
    able = [one for one in tried if one.hypothesis.cause not in limits.UNTOLD]
    drastic = [one for one in able if one.hypothesis.cause not in limits.MILD]
    if _is_noise(bench, deployed):
        found = _best_mass(bench, drastic, 0.0)
        finding = _named(found, deployed) if found else None
        return Judged(
            deployed, tried, finding or symptoms.saturated(seen, rows) or _flood(deployed)
        )
    if not deployed.count:
        found = _best_mass(bench, drastic, limits.LEAST_MASS)
        return Judged(deployed, tried, _named(found, deployed) if found else None)
    better = _better_boxes(bench, able, deployed) or _better_feed(bench, able, deployed)
    finding = _named(better, deployed) if better else symptoms.saturated(seen, rows)
    return Judged(deployed, tried, finding)


def _try(bench: Bench, every: Iterable[Hypothesis]) -> Iterable[Tried]:
    for one in every:
        try:
            yield Tried(one, bench.trial(one.feed, one.reading))
        except (ModelError, ConfigError):  # a reading that does not fit is no explanation
            continue


def _repeat(bench: Bench, one: Tried) -> Tried:
    """The same with the mirrored pictures."""
    again = bench.trial(one.hypothesis.feed, one.hypothesis.reading, repeat=True)
    return dataclasses.replace(one, trial=again)


def _is_noise(bench: Bench, trial: Trial) -> bool:
    """Whether these are more detections than any picture can hold, or not found again."""
    full = trial.count >= bench.options.max_detections * len(bench.pictures)
    crowded = trial.share > limits.FLOOD_SHARE and bench.detector.plan.head != "end2end"
    unstable = trial.count >= limits.FLOOD_COUNT * len(bench.pictures)
    return full or crowded or (unstable and trial.repeated < limits.FLOOD_REPEATED)


def _holds(bench: Bench, one: Tried) -> Tried | None:
    """The hypothesis with its mirrored figures, where its detections are found again."""
    again = _repeat(bench, one)
    steady = again.trial.repeated >= limits.REPEATED
    if not bench.runs:
        steady = again.trial.tight >= limits.ODD_TIGHT
    return again if steady and not _is_noise(bench, again.trial) else None


def _best_mass(bench: Bench, tried: Sequence[Tried], least: float) -> Tried | None:
    """The hypothesis with the highest sum of scores that holds."""

    def worth(one: Tried) -> float:
        rare = limits.RARE if one.hypothesis.cause == "wrong_mean_std" else 1.0
        return one.trial.mass * (0.5 + one.trial.tight) * rare

    for one in sorted(tried, key=worth, reverse=True):
        if one.trial.mass <= least or _is_noise(bench, one.trial):
            continue
        held = _holds(bench, one)
        if held is not None:
            return held
    return None


def _better_feed(bench: Bench, tried: Sequence[Tried], deployed: Trial) -> Tried | None:
    """A way to feed that gives far more: a little more says nothing of one picture."""
    many = len(bench.pictures) >= limits.MANY_PICTURES
    factor = limits.BETTER_MASS_MANY if many else limits.BETTER_MASS
    able = [
        one
        for one in tried
        if one.hypothesis.side == "input"
        and one.trial.mass >= factor * deployed.mass
        and one.trial.mass >= deployed.mass + limits.LEAST_MASS
    ]
    held = _best_mass(bench, able, 0.0)
    if held is None or held.trial.repeated < deployed.repeated - 0.05:
        return None
    return held


def _better_boxes(bench: Bench, tried: Sequence[Tried], deployed: Trial) -> Tried | None:
    """A reading whose boxes agree more with each other, or with those of the mirrored picture.

    Or an input in the other layout: what else is fed differs too little for this measure.  A
    reading that changes only scores keeps the best boxes, and these agree better by themselves.
    """
    if deployed.count < limits.LEAST_COUNT:
        return None
    best: tuple[float, Tried] | None = None
    for one in tried:
        h = one.hypothesis
        if (h.side == "input" and h.cause != "wrong_layout") or h.cause in limits.SCORES_ONLY:
            continue
        if one.trial.count < limits.LEAST_COUNT or _is_noise(bench, one.trial):
            continue
        again = _repeat(bench, one)
        tight = again.trial.tight - deployed.tight
        steady = _difference(again.trial.repeated, deployed.repeated)
        gain = max(tight - limits.BETTER_TIGHT, steady - limits.BETTER_REPEATED)
        if gain < 0 or tight < -limits.BETTER_TIGHT or steady < -limits.BETTER_REPEATED:
            continue
        if best is None or tight + steady > best[0]:
            best = tight + steady, again
    return best[1] if best else None


def _difference(a: float, b: float) -> float:
    return 0.0 if math.isnan(a) or math.isnan(b) else a - b


def _nearer(before: float, best: Tried) -> bool:
    """Whether a setting comes so much nearer to the reference that it must be the right one."""
    after = best.trial.close
    same = after >= limits.SAME
    if best.hypothesis.cause == "wrong_padding" and not same:
        return False  # so little a change is seen only where nothing else is wrong
    gain = limits.NEARER_SAME if same else limits.NEARER
    return after - before >= gain and 1 - after <= limits.HALVED * (1 - before)


def _named(one: Tried, deployed: Trial) -> Finding:
    h, trial = one.hypothesis, one.trial
    if not math.isnan(trial.close):
        shown = f"{h.tried}: {100 * trial.close:.0f} % of the reference's detections, scores and "
        shown += f"overlaps counted, as deployed {100 * deployed.close:.0f} %"
    else:
        shown = f"{h.tried}: {_shown(trial)}; as deployed {_shown(deployed)}"
    return Finding(h.cause, "problem", f"{h.text} ({shown})", h.remedy)


def _shown(trial: Trial) -> str:
    text = f"{trial.count} detections of summed score {trial.mass:.1f}"
    if not math.isnan(trial.repeated):
        text += f", {100 * trial.repeated:.0f} % found again when mirrored"
    return text


def _flood(deployed: Trial) -> Finding:
    text = f"{_shown(deployed)}, {100 * deployed.share:.1f} % of the cells: these are no objects"
    remedy = (
        "nothing that was tried explains it: compare with the float model (--reference), and check "
        "head, strides and the scale of the pixels"
    )
    return Finding("flood", "problem", text, remedy)
