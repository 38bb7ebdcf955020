"""`npud ab --live`: what a running comparison shows, renewed as it comes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

import npud
from npud import CompareMessage
from runtime.ab.report import CLASS_HEAD, NAMES, UNITS, class_rows, distribution_rows

SPLIT_NAMES = {"boxes_per_frame": "boxes a frame, b − a", "mean_score": "mean score, b − a"}


def follow(endpoint: str, as_json: bool) -> None:
    """Show compare/… messages until Ctrl-C; one line of JSON each where nobody looks."""
    console = Console(highlight=False)
    latest: dict[str, CompareMessage] = {}
    plain = as_json or not console.is_terminal
    topics = ("compare",)
    with (
        npud.subscribe(endpoint, topics=topics, heartbeat_timeout_s=None) as subscriber,
        Live(console=console, auto_refresh=False, screen=False) as live,
    ):
        try:
            while True:
                message = subscriber.recv(0.5)
                if plain and message is not None:
                    click.echo(json.dumps(message.to_dict()))
                elif isinstance(message, CompareMessage):
                    latest[message.camera] = message
                if not plain:
                    live.update(_render(endpoint, latest), refresh=True)
        except KeyboardInterrupt:
            return


def _render(endpoint: str, latest: dict[str, CompareMessage]) -> RenderableType:
    if not latest:
        waiting = f"{endpoint}: no comparison has been published yet (each 5 s where one runs)"
        return Text(waiting)
    return Group(*(part for one in latest.values() for part in _camera(one)))


def _camera(one: CompareMessage) -> list[RenderableType]:
    head = f"{one.camera}  {one.mode}  {one.frames} frames"
    if one.skipped:
        head += f", {one.skipped} skipped while the board was busy"
    parts: list[RenderableType] = [Text(head), Text(f"a {one.model_a}   b {one.model_b}")]
    parts += [Text(line, style="bold") for line in one.verdict]
    rows = []
    for name in one.values:
        unit = UNITS.get(name, "")
        shown = NAMES.get(name) or SPLIT_NAMES.get(name, name)
        low, high = one.low.get(name, 0.0), one.high.get(name, 0.0)
        rows.append((shown, f"{one.values[name]:+.4g} {unit}", f"[{low:+.4g}, {high:+.4g}]"))
    tables: list[RenderableType] = [rich_table(("", "value", "interval of 95 %"), rows)]
    if one.spread:
        marks = ("matched boxes", "p50", "p95", "max")
        spread = rich_table(marks, distribution_rows(one.spread))
        tables.append(Group(spread, rich_table(CLASS_HEAD, class_rows(one.classes))))
    return [*parts, Columns(tables, padding=(0, 4))]


def rich_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """A table for the terminal: names left, figures right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table
