"""The report of `npud ab`: one HTML file, in the style of the other reports."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from npud.detections import label_of
from runtime.ab.bootstrap import LEVEL, Interval
from runtime.ab.offline import Example, Labelled, Outcome
from runtime.ab.summary import MEAN, MEASURES, Summary
from runtime.ab.variants import Variant
from runtime.accuracy import plots
from runtime.accuracy.report import page, pictures, table
from runtime.draw import draw

BINS = 41
WORST_CLASSES = 12
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
}
SAMPLE = 20_000  # points of a scatter plot


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


def distribution_rows(summary: Summary) -> list[tuple[str, ...]]:
    """p50, p95 and max of what matched boxes differ by."""
    rows = []
    for name, what in (
        ("score_shifts", "|score difference|"),
        ("shifts_px", "distance of centres, px"),
        ("ious", "1 − IoU"),
    ):
        values = summary.values(name)
        values = 1 - values if name == "ious" else np.abs(values)
        if len(values):
            marks = np.percentile(values, [50, 95, 100])
            rows.append((what, *(f"{mark:.4f}" for mark in marks)))
    return rows


def class_rows(summary: Summary, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Matched and unmatched boxes of each class, those with most differences first."""
    counts = summary.classes
    ids = sorted(
        {*counts["matched"], *counts["only_a"], *counts["only_b"]},
        key=lambda c: (-counts["only_a"][c] - counts["only_b"][c], -counts["matched"][c], c),
    )
    return [
        (label_of(tuple(labels), c), *(str(counts[k][c]) for k in ("matched", "only_a", "only_b")))
        for c in ids[:WORST_CLASSES]
    ]


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
        *(f"<p>{escape(line)}</p>" for line in summary.times(intervals)),
    ]
    if figures:
        parts += ["<h2>Against the labels</h2>", labelled_table(figures)]
    parts += [
        "<h2>Figures</h2>",
        table(("what", "value", "interval"), figures_rows(summary, intervals)),
        "<h2>How matched boxes differ</h2>",
        table(("what", "p50", "p95", "max"), distribution_rows(summary)),
        pictures(
            ("Scores of matched boxes", _scatter(outcome)),
            ("Score of b less score of a", _shifts(summary)),
            ("Time per stage, mean", _times(summary)),
        ),
        "<h2>Classes</h2>",
        table(("class", "matched", "only in a", "only in b"), class_rows(summary, a.labels)),
        "<h2>How finely scores come</h2>",
        levels_table(a, b),
    ]
    if outcome.examples:
        parts += ["<h2>Frames that differ most</h2>", "<p>Left a, right b.</p>"]
        parts += [_example(example, a.labels, b.labels) for example in outcome.examples]
    return page("A/B", *parts)


def labelled_table(figures: Labelled) -> str:
    """MAP and F1 of both."""
    rows = [
        (name, f"{figures.a[name]:.4f}", f"{figures.b[name]:.4f}", f"{one.value:+.4f}",
         f"[{one.low:+.4f}, {one.high:+.4f}]", "shown" if one.excludes_zero else "not shown")
        for name, one in figures.differences.items()
    ]  # fmt: skip
    return table(("figure", "a", "b", "b − a", "interval", "difference"), rows)


def levels_table(a: Variant, b: Variant) -> str:
    """Distinct scores over the floor, and the saturated ones."""
    rows = [
        (name, str(len(v.levels.distinct)), str(v.levels.values),
         f"{v.levels.saturated / max(1, v.levels.values):.2%}")
        for name, v in (("a", a), ("b", b))
    ]  # fmt: skip
    return table(("variant", "distinct scores", "of so many", "saturated"), rows)


def _scatter(outcome: Outcome) -> Any:
    drawing, axes = plots.figure()
    pairs = np.concatenate(outcome.score_pairs) if outcome.score_pairs else np.empty((0, 2))
    chosen = pairs[:: max(1, len(pairs) // SAMPLE)]
    axes.plot([0, 1], [0, 1], color=plots.FAINT, linewidth=1)
    axes.scatter(chosen[:, 0], chosen[:, 1], s=8, color=plots.FIRST)
    axes.set(xlabel="score of a", ylabel="score of b", xlim=(0, 1.02), ylim=(0, 1.02))
    return drawing


def _shifts(summary: Summary) -> Any:
    drawing, axes = plots.figure()
    values = summary.values("score_shifts")
    reach = max(0.01, float(np.abs(values).max(initial=0)))
    axes.hist(values, bins=np.linspace(-reach, reach, BINS), color=plots.FIRST)
    axes.axvline(0, color=plots.INK, linewidth=0.8)
    axes.set(xlabel="score of b − score of a", ylabel="matched boxes")
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


def _example(example: Example, *labels: tuple[str, ...]) -> str:
    shown = [draw(example.pixels, one, names) for one, names in zip(example.found, labels)]
    return (
        f"<figure><figcaption>{escape(example.name)}</figcaption>"
        + "".join(f'<img style="width:49%" alt="" src="{_data(one)}"> ' for one in shown)
        + "</figure>"
    )


def _data(pixels: NDArray[np.uint8]) -> str:
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(np.asarray(jpeg).tobytes()).decode()
