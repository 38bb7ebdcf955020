"""The report of `npud ab`: one HTML file, in the style of the other reports."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from npud.comparison import COUNTS
from npud.detections import label_of
from runtime.ab.bootstrap import LEVEL, Interval
from runtime.ab.offline import Example, Labelled, Outcome
from runtime.ab.summary import MEAN, MEASURES, Summary
from runtime.ab.variants import Variant
from runtime.accuracy import plots
from runtime.accuracy.matching import IOU
from runtime.accuracy.report import outputs_table, page, pictures, table
from runtime.draw import draw

STEPS = 20  # of scores, in the plot of agreement
WORST_CLASSES = 12
CLASS_HEAD = ("class", "matched", "only in a", "only in b")
SPREAD = {"score": "|score difference|", "shift": "distance of centres, px", "iou": "1 − IoU"}
SIDES = ("variant", "moved a frame", "distinct scores", "of so many", "saturated")
UNITS = {m.name: m.unit for m in MEASURES} | {"shift": "px"}
NAMES = {
    "score_shift": "score of b − score of a, mean",
    "score_distance": "|score of b − score of a|, mean",
    "boxes": "boxes of b − boxes of a",
    "only_a": "boxes only in a",
    "only_b": "boxes only in b",
    "lost": "of these, in b below the threshold",
    "gained": "of these, in a below the threshold",
    "iou": "IoU of matched boxes, mean",
    "shift": "distance of centres, mean",
    "shift_x": "b's boxes further right by",
    "shift_y": "b's boxes further down by",
    "preprocess": "pre-processing, b − a",
    "inference": "inference, b − a",
    "postprocess": "post-processing, b − a",
    "cpu": "CPU time a frame, b − a",
    "moved": "between CPU and NPU a frame, b − a",
}


def figures_rows(summary: Summary, intervals: dict[str, Interval]) -> list[tuple[str, ...]]:
    """(what, value, interval) of every measure."""
    rows: list[tuple[str, ...]] = []
    for name in NAMES:
        one = intervals[name]
        digits = 1 if UNITS.get(name) == "µs" else 4 if not UNITS.get(name) else 3
        unit = f" {UNITS[name]}" if UNITS.get(name) else ""
        if np.isnan(one.value):
            rows.append((NAMES[name], "–", ""))
            continue
        interval = "too few frames"
        if summary.enough():
            interval = f"[{one.low:+.{digits}f}, {one.high:+.{digits}f}]"
        if name in MEAN:
            interval = interval.replace("+", "")  # of what cannot be negative
            rows.append((NAMES[name], f"{one.value:.{digits}f}{unit}", interval))
        else:
            rows.append((NAMES[name], f"{one.value:+.{digits}f}{unit}", interval))
    return rows


def distribution_rows(spread: Mapping[str, float]) -> list[tuple[str, ...]]:
    """p50, p95 and max of what matched boxes differ by."""
    return [
        (what, *(f"{spread[f'{name}_{mark}']:.4f}" for mark in ("p50", "p95", "max")))
        for name, what in SPREAD.items()
        if f"{name}_p50" in spread
    ]


def by_label(summary: Summary, labels: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Boxes of each class, by its name."""
    return {label_of(labels, c): counts for c, counts in summary.classes().items()}


def class_rows(classes: Mapping[str, Mapping[str, int]]) -> list[tuple[str, ...]]:
    """Matched and unmatched boxes of each class, those with most differences first."""
    rows = [(label, *(str(one[k]) for k in COUNTS)) for label, one in classes.items()]
    return rows[:WORST_CLASSES]


def report(
    a: Variant,
    b: Variant,
    source: str,
    outcome: Outcome,
    intervals: dict[str, Interval],
    figures: Labelled | None,
) -> str:
    """The whole page."""
    summary = outcome.summary
    verdict = summary.verdict(intervals)
    done = " (interrupted: not all frames)" if outcome.interrupted else ""
    parts = [
        f"<p><b>a</b> {escape(a.name)}<br><b>b</b> {escape(b.name)}</p>",
        f"<p>{escape(source)}, {len(summary)} frames{done}; intervals of {LEVEL:.0%}</p>",
        *(f'<p class="verdict">{escape(line)}</p>' for line in verdict),
        *(f"<p>{escape(line)}</p>" for line in summary.costs(intervals)),
    ]
    if figures:
        rows = labelled_rows(figures)
        parts += ["<h2>Against the labels</h2>", table(("figure", "a", "b", "b − a"), rows)]
    parts += [
        "<h2>Figures</h2>",
        table(("what", "value", "interval"), figures_rows(summary, intervals)),
        "<h2>How matched boxes differ</h2>",
        table(("what", "p50", "p95", "max"), distribution_rows(summary.spread())),
        pictures(
            ("Agreement by score", _agreement(outcome)),
            ("Scores of both", plots.score_pairs(*_scores(outcome))),
            ("Score of b less score of a", plots.score_shifts(summary.values("score_shifts"))),
            ("IoU of matched boxes", _ious(summary)),
            ("Time per stage, mean", _times(summary)),
        ),
        "<h2>Classes</h2>",
        table(CLASS_HEAD, class_rows(by_label(summary, a.labels))),
        "<h2>Outputs</h2>",
        _outputs(outcome),
        table(SIDES, side_rows(a, b, summary)),
    ]
    if outcome.examples:
        parts += ["<h2>Frames that differ most</h2>", "<p>Left a, right b.</p>"]
        parts += [_example(example, a.labels or b.labels) for example in outcome.examples]
    return page("A/B", *parts)


def labelled_rows(figures: Labelled) -> list[tuple[str, ...]]:
    """(figure, a, b, b - a) with intervals."""
    return [
        (name, *(f"{one.value:{sign}.4f} [{one.low:{sign}.3f}, {one.high:{sign}.3f}]"
                 for one, sign in ((figures.a[name], ""), (figures.b[name], ""), (one, "+"))))
        for name, one in figures.differences.items()
    ]  # fmt: skip


def side_rows(a: Variant, b: Variant, summary: Summary) -> list[tuple[str, ...]]:
    """Of each side: bytes moved a frame, distinct scores over the floor, and saturated ones."""
    frames = max(1, len(summary))
    return [
        (name, f"{summary.total(f'bytes_{name}') / frames / 1e6:.3f} MB",
         str(len(v.levels.distinct)), str(v.levels.values),
         f"{v.levels.saturated / max(1, v.levels.values):.2%}")
        for name, v in (("a", a), ("b", b))
    ]  # fmt: skip


def _outputs(outcome: Outcome) -> str:
    """How far the raw outputs differ."""
    if outcome.only_detections:
        return f"<p>Outputs are not compared: {escape(outcome.only_detections)}.</p>"
    tallies = list(outcome.tallies.values())
    return outputs_table(tallies)


def _agreement(outcome: Outcome) -> Any:
    """Boxes of both by score (a matched one by a's): matched, and found by one of them alone."""
    drawing, axes = plots.figure()
    matched, lost, extra = _scores(outcome)
    kinds = ((matched[:, 0], plots.FIRST, "matched"), (lost, plots.SECOND, "only in a"),
             (extra, plots.FAINT, "only in b"))  # fmt: skip
    values, colours, names = zip(*kinds)
    bins = np.linspace(0, 1, STEPS + 1)
    axes.hist(values, bins=bins, stacked=True, color=colours, label=names, rwidth=0.85)
    axes.set(xlabel="score", ylabel="boxes", xlim=(0, 1))
    axes.legend(frameon=False, labelcolor=plots.INK)
    return drawing


def _scores(outcome: Outcome) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Of the matched boxes (M, 2), and of those that only a and only b have."""
    matched = [np.empty((0, 2), np.float32), *outcome.score_pairs]
    nothing = np.empty(0, np.float32)
    lost, extra = ([nothing, *(alone[side] for alone in outcome.alone)] for side in (0, 1))
    return np.concatenate(matched), np.concatenate(lost), np.concatenate(extra)


def _ious(summary: Summary) -> Any:
    drawing, axes = plots.figure()
    axes.hist(summary.values("ious"), bins=np.linspace(IOU, 1, plots.BINS), color=plots.FIRST)
    axes.set(xlabel="IoU", ylabel="matched boxes", xlim=(IOU, 1))
    return drawing


def _times(summary: Summary) -> Any:
    drawing, axes = plots.figure()
    stages = ("preprocess", "inference", "postprocess", "cpu")
    places, frames = np.arange(len(stages)), max(1, len(summary))
    for side, colour, shift in (("a", plots.FIRST, -0.2), ("b", plots.SECOND, 0.2)):
        means = [summary.total(f"{stage}_{side}") / frames / 1000 for stage in stages]
        axes.bar(places + shift, means, 0.36, color=colour, label=side)
    axes.set_xticks(places, ["pre-processing", "inference", "post-processing", "CPU"])
    axes.set(ylabel="ms a frame", yscale="log")
    axes.legend(frameon=False, labelcolor=plots.INK)
    return drawing


def _example(example: Example, labels: tuple[str, ...]) -> str:
    shown = [draw(example.pixels, one, labels) for one in example.found]
    return (
        f"<figure><figcaption>{escape(example.name)}</figcaption>"
        + "".join(f'<img style="width:49%" alt="" src="{_data(one)}"> ' for one in shown)
        + "</figure>"
    )


def _data(pixels: NDArray[np.uint8]) -> str:
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(np.asarray(jpeg).tobytes()).decode()
