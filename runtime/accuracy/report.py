"""Reports as one HTML file each: no script, nothing loaded, light or dark as the reader has it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from npud.errors import ConfigError
from runtime.accuracy import plots
from runtime.accuracy.compare import Comparison
from runtime.accuracy.metrics import ClassFigures, Figures
from runtime.accuracy.tally import HEAD, Limits, Tally
from runtime.accuracy.waterfall import NO_LOSS, losses
from runtime.accuracy.waterfall import Row as Step

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fdfdfe; --first: #2a6fb0;
  --second: #c4572e; --faint: #c9ced6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e6ea; --paper: #15181c; --first: #6aaee8;
  --second: #ef8a5f; --faint: #444b55; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.9rem 0.2rem 0; text-align: right;
  border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; }
.wide { overflow-x: auto; margin-bottom: 1rem; } .plots { display: flex; flex-wrap: wrap;
  gap: 1rem; margin-top: 1rem; }
figure { margin: 0; } figcaption { font-size: 0.9rem; } svg { max-width: 100%; height: auto; }
svg text { font-family: system-ui, sans-serif !important; }
.verdict { font-size: 1.1rem; font-weight: 600; } .bad { color: var(--second); }
"""
WORST = 10
Row = Sequence[object]


def page(title: str, *parts: str) -> str:
    """A whole page of parts that are HTML already."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def table(head: Row, rows: Sequence[Row]) -> str:
    """A table; its cells are text."""
    lines = ["".join(f"<th>{escape(str(cell))}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    return (
        '<div class="wide"><table>'
        + "".join(f"<tr>{line}</tr>\n" for line in lines)
        + "</table></div>"
    )


def pictures(*drawings: tuple[str, object]) -> str:
    """Plots side by side, (caption, figure) each."""
    shown = (
        f"<figure><figcaption>{escape(caption)}</figcaption>{plots.as_svg(drawing)}</figure>"
        for caption, drawing in drawings
    )
    return f'<div class="plots">{"".join(shown)}</div>'


def check_html(path: Path | None) -> None:
    """Tell what a report lacks before the work, not after it: a folder to write it to, matplotlib.

    Raises ConfigError or BackendUnavailable.
    """
    if path is None:
        return
    plots.figure()
    place = path if path.exists() else path.parent
    if not os.access(place, os.W_OK):
        why = "permission denied" if place.exists() else f"there is no folder {place}"
        raise ConfigError(f"{path}: cannot write the report: {why}")


def write_html(path: Path, text: str) -> None:
    """Write a page; raises ConfigError where that is not possible."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot write the report: {error.strerror or error}") from None


def compare_page(result: Comparison, limits: Limits, verdict: str, beyond: Sequence[str]) -> str:
    """The report of `npud compare`."""
    done = " (interrupted: not all pictures)" if result.interrupted else ""
    parts = [
        f"<p><b>A</b> {escape(result.name_a)}: {escape(str(result.plan_a))}<br>"
        f"<b>B</b> {escape(result.name_b)}: {escape(str(result.plan_b))}</p>",
        f'<p class="verdict{" bad" if beyond else ""}">{escape(verdict)}{escape(done)}</p>',
        *(f'<p class="bad">{escape(line)}</p>' for line in beyond),
        *(f"<p>{escape(note)}</p>" for note in result.notes),
        "<h2>Detections</h2>",
        _detections(result),
        pictures(
            ("Scores of both", plots.score_pairs(*_scores(result))),
            ("Score shift of matched detections", plots.score_shifts(result.shifts)),
        ),
    ]  # fmt: skip
    if result.tallies:
        parts += [
            "<h2>Outputs</h2>",
            "<p>A is the reference. Mismatched elements: "
            f"|b − a| &gt; {limits.atol:g} + {limits.rtol:g}·|a|.</p>",
            outputs_table(result.tallies),
            pictures(("Agreement of outputs", plots.output_agreement(result.tallies))),
        ]
    return page(f"{Path(result.name_a).name} and {Path(result.name_b).name}", *parts)


def outputs_table(tallies: Sequence[Tally]) -> str:
    """How outputs of both agree."""
    return table(HEAD, [tally.cells() for tally in tallies])


def _scores(result: Comparison) -> tuple[Any, Any, Any]:
    matched = np.stack([result.all("score_a"), result.all("score_b")], 1)
    return matched, result.all("lost"), result.all("extra")


def _detections(result: Comparison) -> str:
    head = ("picture", "A", "B", "matched", "lost", "extra")
    total: Row = (
        f"all {len(result.found)}",
        *(result.total(name) for name in ("a", "b", "iou", "lost", "extra")),
    )
    worst = sorted(result.found, key=lambda one: -len(one.lost) - len(one.extra))[:WORST]
    rows: list[Row] = [
        (one.picture, one.a, one.b, len(one.iou), len(one.lost), len(one.extra))
        for one in worst
        if one.lost or one.extra
    ]
    return table(head, [total, *rows])


def eval_page(model: str, data: str, figures: Figures, interrupted: bool) -> str:
    """The report of `npud eval`."""
    head = ("class", "objects", "mAP50-95", "mAP50", "P", "R", "F1", "best F1", "at")
    shown = [one for one in figures.classes if one.deployed.objects or one.deployed.found]
    shown.sort(key=lambda one: (-(one.map50_95 if one.map50_95 is not None else -1), one.label))
    rows = [("all", *_figures(figures)), *((one.label, *_figures(one)) for one in shown)]
    return page(
        f"{model} on {Path(data).name}",
        _pictures_done(data, figures.images, interrupted),
        f"<p>P, R and F1 at score ≥ {figures.deployed.threshold:g} and IoU ≥ 0.5.</p>",
        table(head, rows),
        pictures(("Average precision of the classes", plots.classes(figures))),
    )


def waterfall_page(data: str, steps: Sequence[Step], interrupted: bool) -> str:
    """The report of `npud eval --waterfall`."""
    head = ("step", "model", "mAP50-95", "change", "mAP50", "change", "F1", "change")
    rows: list[Row] = []
    for step, loss in zip(steps, losses(steps)):
        f = step.figures
        if f is None:
            rows.append((step.title, "not given", *("",) * 6))
            continue
        change = loss or NO_LOSS
        parts = (
            (f.map50_95, change.map50_95, 4),
            (f.map50, change.map50, 4),
            (f.deployed.f1, change.f1, 3),
        )
        cells = [text for v, c, n in parts for text in (_number(v, n), _change(c, n))]
        rows.append((step.title, step.model, *cells))
    done = max((step.figures.images for step in steps if step.figures), default=0)
    return page(
        "Accuracy from the float model to the deployed way",
        _pictures_done(data, done, interrupted),
        table(head, rows),
        pictures(("Each step, and its difference to the one before", plots.waterfall(steps))),
    )


def _pictures_done(data: str, count: int, interrupted: bool) -> str:
    part = ' <span class="bad">(interrupted: not all pictures)</span>' if interrupted else ""
    return f"<p>{escape(data)}, {count} pictures{part}</p>"


def _figures(part: Figures | ClassFigures) -> list[str]:
    here, best = part.deployed, part.best
    return [
        str(here.objects),
        _number(part.map50_95, 4),
        _number(part.map50, 4),
        *(_number(value) for value in (here.precision, here.recall, here.f1)),
        _number(best.f1 if best.threshold is not None else None),
        _number(best.threshold),
    ]


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _change(value: float | None, digits: int) -> str:
    return "" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}"
