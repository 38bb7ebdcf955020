"""What `npud eval` shows: a progress bar, and a table of figures."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from runtime import config
from runtime.accuracy.dataset import Dataset, Picture
from runtime.accuracy.metrics import ClassFigures, Counted, Figures
from runtime.detector import ModelFiles

WIDTH = 110
COLUMNS = ("objects", "mAP50-95", "mAP50", "P", "R", "F1", "best F1", "at")


@dataclass(frozen=True)
class Plan:
    """What is evaluated on, and where the results go."""

    dataset: Dataset
    classes: Sequence[str]
    limit: int | None
    log: Path
    resume: bool

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures that are wanted."""
        return self.dataset.pictures[: self.limit]

    @property
    def total(self) -> int:
        """How many they are."""
        return len(self.pictures)


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr, where that is a terminal; yields what moves it on by one."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def render(
    files: ModelFiles, dataset: Dataset, settings: config.Model, figures: Figures, total: int
) -> None:
    """Print the figures: all classes together, then each that has something to say."""
    part = "" if figures.images == total else f" of {total} (PARTIAL: interrupted)"
    click.echo(
        f"{files.name} on {dataset.path} ({dataset.kind}), {figures.images}{part} pictures, "
        f"{figures.deployed.objects} objects"
    )
    click.echo(
        f"IoU threshold of NMS {settings.iou_threshold:g}, at most {settings.max_detections} "
        f"detections; P, R, F1 at score ≥ {settings.score_threshold:g} and IoU ≥ 0.5\n"
    )
    shown = [c for c in figures.classes if c.deployed.objects or c.deployed.found]
    show(_table(figures, shown))
    if left_out := len(figures.classes) - len(shown):
        click.echo(f"\n{left_out} classes without objects and detections are left out")


def show(table: Table) -> None:
    """Print a table as wide as it needs, without blanks at the ends of lines."""
    click.echo(as_lines(table))


def as_lines(table: Table) -> str:
    """A table as plain text."""
    buffer = io.StringIO()
    Console(file=buffer, highlight=False, width=WIDTH).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _table(figures: Figures, shown: list[ClassFigures]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("class", no_wrap=True, max_width=20, overflow="ellipsis")
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("all", *_cells(figures), style="bold")
    shown.sort(key=lambda one: (-(one.map50_95 if one.map50_95 is not None else -1), one.label))
    for one in shown:
        table.add_row(one.label, *_cells(one))
    return table


def _cells(part: Figures | ClassFigures) -> list[str]:
    here, best = part.deployed, part.best
    return [
        str(here.objects),
        number(part.map50_95, 4),
        number(part.map50, 4),
        *(number(value) for value in _three(here)),
        number(best.f1 if best.threshold is not None else None),
        number(best.threshold),
    ]


def _three(counted: Counted) -> tuple[Any, ...]:
    return counted.precision, counted.recall, counted.f1


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
