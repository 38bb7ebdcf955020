"""A comparison over pictures, a video or a recording, with labels where there are some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections
from runtime.ab.bootstrap import Interval, interval
from runtime.ab.pairs import Found, compare
from runtime.ab.summary import Summary
from runtime.ab.variants import FLOOR, Item, Levels, Variant
from runtime.accuracy.dataset import ClassMap, Picture
from runtime.accuracy.matching import renamed_to
from runtime.accuracy.metrics import Resampler
from runtime.accuracy.outputs import paired, unlike
from runtime.accuracy.records import Result
from runtime.accuracy.tally import Limits, Tally

EXAMPLES = 6  # frames that are shown, those that differ most
EXAMPLE_PX = 900  # their width at most
LABELLED_RESAMPLES = 500  # mAP is accumulated anew for each


@dataclass(frozen=True, eq=False)
class Example:
    """A frame on which both differ, with what each found at its threshold."""

    name: str
    pixels: NDArray[np.uint8]
    found: tuple[Detections, Detections]
    difference: float


@dataclass
class Outcome:
    """What a run has gathered; results are those of each side, for labels."""

    summary: Summary
    names: list[str] = field(default_factory=list)
    results: tuple[list[Result], list[Result]] = field(default_factory=lambda: ([], []))
    examples: list[Example] = field(default_factory=list)
    score_pairs: list[NDArray[np.float32]] = field(default_factory=list)
    alone: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)  # outputs against each other
    only_detections: str = ""  # why outputs cannot be compared
    interrupted: bool = False


def run(
    a: Variant,
    b: Variant,
    items: Iterable[Item],
    block: int,
    advance: Callable[[], None] = lambda: None,
) -> Outcome:
    """Both sides on every frame, in turns first; Ctrl-C ends it with what was done."""
    outcome = Outcome(Summary(block, kept=1 << 30))
    worst: dict[int, Example] = {}  # by block: neighbouring frames show the same
    numbers = count()
    try:
        for item in items:
            number = next(numbers)
            if not number:
                _warm_up(item, a, b)
            order = (a, b) if number % 2 else (b, a)  # neither always finds warm caches
            looked = {id(side): side.look(item) for side in order}
            found = looked[id(a)], _as_a(a, b, looked[id(b)])
            near = [_down_to(FLOOR * s.threshold, one) for s, one in zip((a, b), found)]
            pair = compare(near[0], near[1], a.threshold, b.threshold)
            outcome.summary.add(pair)
            outcome.names.append(item.frame.name)
            outcome.score_pairs.append(pair.scores)
            outcome.alone.append(pair.alone)
            _outputs(outcome, (a, b), found)
            for results, one in zip(outcome.results, found):
                results.append(_result(item, one))
            if _is_among(worst, number // block, pair.difference):
                thresholds = a.threshold, b.threshold
                worst[number // block] = _example(item, found, thresholds, pair.difference)
                if len(worst) > EXAMPLES:
                    del worst[min(worst, key=lambda k: worst[k].difference)]
            advance()
    except KeyboardInterrupt:
        outcome.interrupted = True
        whole = min(len(outcome.names), *map(len, outcome.results))
        for kept in (outcome.names, *outcome.results):
            del kept[whole:]  # of a frame that was interrupted
    outcome.examples = sorted(worst.values(), key=lambda example: -example.difference)
    return outcome


def _is_among(worst: dict[int, Example], block: int, difference: float) -> bool:
    """Whether a frame of this block belongs to those that differ most."""
    if block in worst:
        return difference > worst[block].difference
    least = min((w.difference for w in worst.values()), default=0.0)
    return difference > (least if len(worst) >= EXAMPLES else 0.0)


def _as_a(a: Variant, b: Variant, found: Found) -> Found:
    """What b found, with a's class ids for the same names."""
    rename = renamed_to(a.labels, b.labels)
    return replace(found, detections=rename(found.detections)) if rename else found


def _outputs(outcome: Outcome, sides: tuple[Variant, Variant], found: tuple[Found, Found]) -> None:
    """Compare the raw outputs, where they are at hand and answer each other."""
    (a, b), (x, y) = sides, (found[0].outputs, found[1].outputs)
    if x is None or y is None or not (a.plan and b.plan and a.input and b.input):
        outcome.only_detections = "both sides have the same outputs"
        return
    outcome.only_detections = unlike(a.plan, a.input, b.plan, b.input)
    if outcome.only_detections:
        return
    for what, first, second in paired(a.plan, x, b.plan, y):
        outcome.tallies.setdefault(what, Tally(what)).add(first, second, Limits())


def _warm_up(item: Item, *sides: Variant) -> None:
    """The first frame takes longer than all others, and says nothing of them."""
    for side in sides:
        side.look(item)
        side.levels = Levels()


def _down_to(floor: float, found: Found) -> Found:
    """Without the boxes that only mAP wants to see."""
    return replace(found, detections=_passed(found.detections, floor))


def _passed(found: Detections, threshold: float) -> Detections:
    keep = found.scores >= threshold
    return Detections(found.boxes[keep], found.scores[keep], found.class_ids[keep])


def _result(item: Item, found: Found) -> Result:
    one = found.detections
    order = np.argsort(-one.scores, kind="stable")
    return Result(
        item.frame.width_px,
        item.frame.height_px,
        one.boxes[order].astype(np.float64),
        one.scores[order].astype(np.float64),
        one.class_ids[order].astype(np.int64),
    )


def _example(
    item: Item, found: Sequence[Found], thresholds: Sequence[float], difference: float
) -> Example:
    pixels = item.frame.bgr()
    scale = min(1.0, EXAMPLE_PX / pixels.shape[1])
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    kept = [_passed(f.detections, t) for f, t in zip(found, thresholds)]
    scaled = [replace(k, boxes=k.boxes * np.float32(scale)) for k in kept]
    both = (scaled[0], scaled[1])
    return Example(item.frame.name, np.asarray(small, np.uint8), both, difference)


@dataclass(frozen=True)
class Labelled:
    """mAP50-95, mAP50 and F1 of both, and b's less a's, with intervals."""

    a: dict[str, Interval]
    b: dict[str, Interval]
    differences: dict[str, Interval]


def labelled(
    outcome: Outcome,
    pictures: Sequence[Picture],
    classes: ClassMap,
    thresholds: tuple[float, float],
    seed: int = 0,
    resamples: int = LABELLED_RESAMPLES,
) -> Labelled:
    """Figures of both against the labels of the same pictures, in the same order.

    The pictures are drawn again and again, the same for both, with what was matched in them.
    """
    sides = [
        Resampler(pictures, results, classes, threshold)
        for results, threshold in zip(outcome.results, thresholds)
    ]
    everything = list(range(len(pictures)))
    a, b = (side.figures(everything) for side in sides)
    rng = np.random.default_rng(seed)
    draws = np.empty((resamples, 2, len(a)))
    for draw in draws:
        chosen = rng.choice(everything, len(everything)).tolist()
        draw[:] = [list(side.figures(chosen).values()) for side in sides]
    differences = {name: b[name] - a[name] for name in a}
    return Labelled(
        _intervals(a, draws[:, 0]),
        _intervals(b, draws[:, 1]),
        _intervals(differences, draws[:, 1] - draws[:, 0]),
    )


def _intervals(values: dict[str, float], draws: NDArray[np.float64]) -> dict[str, Interval]:
    """Each value with its interval; draws (N, values) are in the same order."""
    return {name: interval(value, column) for (name, value), column in zip(values.items(), draws.T)}


def matching_pictures(pictures: Sequence[Picture], names: Sequence[str]) -> list[Picture]:
    """The labelled pictures in the order of these file names."""
    by_path = {Path(picture.path): picture for picture in pictures}
    return [by_path[Path(name)] for name in names]
