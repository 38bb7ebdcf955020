"""`npud eval --waterfall`: the steps from the float model to the deployed way."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import click
from rich import box
from rich.table import Table

from runtime import config
from runtime.accuracy.dataset import class_map
from runtime.accuracy.evaluate import Lane, as_json, at_lowest_score, header_of, run
from runtime.accuracy.log import Log
from runtime.accuracy.metrics import figures_of
from runtime.accuracy.waterfall import NO_LOSS, STEPS, Row, chains, losses
from runtime.cli._eval import Plan, number, progress, show
from runtime.detector import Detector, read_model

OPTION_OF = {"float": "--float", "preprocessing": "--float", "npu_sigmoid": "--npu-sigmoid"}
Settings = tuple[config.Model, config.Backend]


def measure(
    plan: Plan, deployed: Settings, float_model: Settings | None, variant: Settings | None
) -> tuple[list[Row], bool]:
    """The rows of the waterfall, on the same pictures, and whether Ctrl-C ended it."""
    with contextlib.ExitStack() as stack:
        opened = [_open(one, stack) for one in (deployed, float_model, variant)]
        first = opened[0]
        assert first is not None  # noqa: S101 - the deployed model always is
        steps = chains(first, opened[1], opened[2])
        lanes, mapped = [], {}
        for step, (detector, chain) in steps.items():
            labels, count = detector.files.labels, detector.plan.num_classes
            mapped[step] = class_map(plan.dataset, labels, count, plan.classes)
            model, chip = next(
                settings
                for settings, other in zip((deployed, float_model, variant), opened)
                if other is detector and settings is not None
            )
            header = header_of(detector.files, at_lowest_score(model), chip, plan.dataset, step)
            path = plan.log.with_suffix(f".{step}.jsonl")
            lanes.append(Lane(chain, Log(path, header, plan.resume), detector.files.labels))
        with progress(f"{len(steps)} steps", plan.total) as advance:
            runs = run(lanes, plan.pictures, advance)
        threshold = deployed[0].score_threshold
        figures = {
            step: figures_of(done.pictures, done.results, mapped[step], threshold)
            for done, step in zip(runs, steps)
            if done.results
        }
        names = {step: detector.files.name for step, (detector, _) in steps.items()}
    rows = [Row(step, names.get(step, ""), figures.get(step)) for step in STEPS]
    return rows, runs[0].interrupted


def _open(settings: Settings | None, stack: contextlib.ExitStack) -> Detector | None:
    if settings is None:
        return None
    model, chip = settings
    detector = Detector(read_model(model), at_lowest_score(model), chip)
    stack.callback(detector.close)
    return detector


def render(rows: Sequence[Row], threshold: float) -> None:
    """Print the waterfall as a table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("step", no_wrap=True)
    for name in ("mAP50-95", "", "mAP50", "", "F1", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for row, loss in zip(rows, losses(rows)):
        f = row.figures
        if f is None:
            table.add_row(row.title, f"not given ({OPTION_OF[row.step]})", style="dim")
            continue
        change = loss or NO_LOSS
        table.add_row(
            row.title,
            number(f.map50_95, 4),
            signed(change.map50_95, 4),
            number(f.map50, 4),
            signed(change.map50, 4),
            number(f.deployed.f1),
            signed(change.f1),
        )
    show(table)
    for row in rows:
        if row.figures is not None and row.step in ("float", "quantized", "npu_sigmoid"):
            click.echo(f"{row.title}: {row.model}")
    click.echo(f"F1 at score ≥ {threshold:g}; each difference is to the step above")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, or nothing."""
    return "" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}"


def rows_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows with all figures and losses; figures null where a step's model was not given."""
    return [
        {
            "step": row.step,
            "title": row.title,
            "model": row.model or None,
            "loss": None
            if loss is None
            else {"map50_95": loss.map50_95, "map50": loss.map50, "f1": loss.f1},
            "figures": as_json(row.figures) if row.figures else None,
        }
        for row, loss in zip(rows, losses(rows))
    ]
