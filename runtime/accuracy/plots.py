"""Plots by matplotlib, as PNG, or as SVG in the colours of the page it is on."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import BackendUnavailable, ConfigError
from runtime.accuracy.metrics import Figures
from runtime.accuracy.tally import Tally
from runtime.accuracy.waterfall import Row, losses

# Drawn in these; in an SVG on a page each is the page's CSS variable, so that it can go dark.
INK, PAPER, FIRST, SECOND, FAINT = "#1b1f24", "#fdfdfe", "#2a6fb0", "#c4572e", "#c9ced6"
VARIABLES = {INK: "--ink", PAPER: "--paper", FIRST: "--first", SECOND: "--second", FAINT: "--faint"}
BINS = 41
POINTS = 20_000  # of a scatter plot


def figure(width: float = 5.2, height: float = 3.6) -> tuple[Any, Any]:
    """An empty figure with one plot, in inches; raises BackendUnavailable without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailable(
            f"expected matplotlib, got: {error}; remedy: pip install 'npud[workbench]'"
        ) from None
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its fonts
    drawing = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    axes = drawing.add_subplot()
    axes.set_facecolor(PAPER)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.title.set_color(INK)
    return drawing, axes


def as_svg(drawing: Any) -> str:
    """The figure as an <svg> element, with the page's colours; the same bytes each time."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "npud"}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in VARIABLES.items():
        text = re.sub(colour, f"var({variable})", text, flags=re.IGNORECASE)
    return text


def write_plot(drawing: Any, path: Path) -> None:
    """Write a picture in the format of its suffix; raises ConfigError where it cannot be."""
    try:
        drawing.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot write a plot: {error}") from None


def score_pairs(matched: NDArray[Any], lost: NDArray[Any], extra: NDArray[Any]) -> Any:
    """Scores (M, 2) of matched detections against each other; lost and extra ones on the axes."""
    drawing, axes = figure()
    matched, lost, extra = (x[:: max(1, len(x) // POINTS)] for x in (matched, lost, extra))
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    axes.scatter(matched[:, 0], matched[:, 1], s=12, color=FIRST, label="matched")
    axes.scatter(lost, np.zeros_like(lost), s=14, marker="x", color=SECOND, label="lost")
    axes.scatter(np.zeros_like(extra), extra, s=14, marker="+", color=SECOND, label="extra")
    axes.set(xlabel="score of A", ylabel="score of B", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    _legend(axes)
    return drawing


def score_shifts(shifts: NDArray[Any]) -> Any:
    """Histogram of score of B less score of A."""
    drawing, axes = figure()
    reach = max(0.01, float(np.abs(shifts).max(initial=0)))
    axes.hist(shifts, bins=np.linspace(-reach, reach, BINS), color=FIRST)
    axes.axvline(0, color=INK, linewidth=0.8)
    if len(shifts):
        axes.axvline(shifts.mean(), color=SECOND, linewidth=1.5, label=f"mean {shifts.mean():+.4f}")
        _legend(axes)
    axes.set(xlabel="score of B − score of A", ylabel="matched detections")
    return drawing


def output_agreement(shown: Sequence[Tally]) -> Any:
    """Cosine and share of mismatched elements of each output."""
    tallies = shown[::-1]
    drawing, axes = figure(height=0.9 + 0.34 * len(tallies))
    rows = np.arange(len(tallies))
    cosines = [max(0.0, tally.cosine) for tally in tallies]
    axes.barh(rows + 0.18, cosines, 0.32, color=FIRST, label="cosine")
    shares = [tally.mismatched_share for tally in tallies]
    axes.barh(rows - 0.18, shares, 0.32, color=SECOND, label="mismatched elements")
    axes.set_yticks(rows, [tally.what for tally in tallies])
    axes.set(xlim=(0, 1))
    _legend(axes, loc="upper center", bbox_to_anchor=(0.4, -0.12 - 0.3 / len(tallies)), ncols=2)
    return drawing


def classes(figures: Figures) -> Any:
    """mAP50-95 and mAP50 of each class that has objects, the best on top."""
    known = [(c.map50_95, c.map50 or 0.0, c.label) for c in figures.classes]
    rows = sorted((row for row in known if row[0] is not None), key=lambda row: row[0] or 0.0)
    drawing, axes = figure(6.4, 1.1 + 0.22 * len(rows))
    at = np.arange(len(rows))
    axes.barh(at, [row[1] for row in rows], 0.75, color=FAINT, label="mAP50")
    axes.barh(at, [row[0] for row in rows], 0.45, color=FIRST, label="mAP50-95")
    axes.set_yticks(at, [row[2] for row in rows])
    axes.set(xlim=(0, 1), ylim=(-0.7, max(0.7, len(rows) - 0.3)))
    _legend(axes, loc="lower right")
    return drawing


def waterfall(rows: Sequence[Row]) -> Any:
    """mAP50-95 and F1 of each step, with the difference to the one before; no bar: not given."""
    drawing, axes = figure(7.2, 4.0)
    names = [row.title.replace(",", ",\n", 1) for row in rows][::-1]
    for name, colour, side in (("mAP50-95", FIRST, 0.19), ("F1", SECOND, -0.19)):
        _steps(axes, rows, name, colour, side)
    axes.set_yticks(np.arange(len(rows)), names)
    given = [row.figures for row in rows if row.figures]
    most = max(max(f.map50_95 or 0, f.deployed.f1 or 0) for f in given) if given else 1
    axes.set(xlim=(0, 1.35 * most or 1), ylim=(-0.6, len(rows) - 0.4))
    _legend(axes, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return drawing


def _steps(axes: Any, rows: Sequence[Row], name: str, colour: str, side: float) -> None:
    shown = name
    for place, (row, loss) in enumerate(zip(rows, losses(rows))):
        at = len(rows) - 1 - place + side
        if row.figures is None:
            if side > 0:
                axes.text(0.01, at - side, "not given", color=INK, fontsize=8, va="center")
            continue
        figures = row.figures
        value = (figures.map50_95 if name == "mAP50-95" else figures.deployed.f1) or 0.0
        change = None if loss is None else loss.map50_95 if name == "mAP50-95" else loss.f1
        axes.barh(at, value, 0.34, color=colour, label=shown)
        shown = "_" + name  # once in the legend
        text = f"{value:.3f}" + ("" if change is None else f"  ({round(change, 3) + 0.0:+.3f})")
        axes.text(value + 0.01, at, text, color=INK, fontsize=8, va="center")


def _legend(axes: Any, **where: Any) -> None:
    legend = axes.legend(frameon=False, fontsize=9, **where)
    for text in legend.get_texts():
        text.set_color(INK)
