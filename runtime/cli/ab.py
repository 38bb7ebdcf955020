"""`npud ab`: two variants on the same frames, and what the difference is."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.text import Text

import npud
from npud.errors import ConfigError
from runtime.ab import variants
from runtime.ab.bootstrap import Interval
from runtime.ab.offline import Labelled, Outcome, labelled, matching_pictures, run
from runtime.ab.report import (
    CLASS_HEAD,
    SIDES,
    by_label,
    class_rows,
    distribution_rows,
    figures_rows,
    labelled_rows,
    report,
    side_rows,
)
from runtime.ab.variants import Item, ModelVariant, RecordedVariant, Variant
from runtime.accuracy.dataset import Dataset, class_map, open_dataset
from runtime.accuracy.metrics import pycocotools
from runtime.accuracy.report import check_html, write_html
from runtime.cli._ab_live import follow, rich_table
from runtime.cli._eval import progress
from runtime.cli.options import build
from runtime.config import Config
from runtime.sources.images import list_images

INTERRUPTED = 130
LOWEST_SCORE = 0.001  # for mAP
PLAIN = Config()


@click.command(epilog="Exit code: 0 when all frames are done, 130 when Ctrl-C ended it.")
@click.argument("a", required=False)
@click.argument("b", required=False)
@click.option("--images", metavar="DIR", help="Pictures: a file, directory or glob.")
@click.option("--video", metavar="FILE", help="A video.")
@click.option(
    "--recording",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A recording of npud record: its pictures for models, its outputs without.",
)
@click.option("--labels", type=click.Path(path_type=Path), help="Labels of the pictures: COCO, …")
@click.option("--limit", type=click.IntRange(1), help="Only the first N frames.")
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="TOML of both.")
@click.option("--set-a", multiple=True, metavar="KEY=VALUE", help="Only in a: model.sigmoid=exact.")
@click.option("--set-b", multiple=True, metavar="KEY=VALUE", help="Only in b.")
@click.option("--live", is_flag=True, help="Show what a running npud compares ([compare]).")
@click.option("-e", "--endpoint", default=npud.DEFAULT_ENDPOINT, help="With --live: where it is.")
@click.option("--json", "as_json", is_flag=True, help="All figures, as one JSON object.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report with plots."
)
def command(
    a: str | None,
    b: str | None,
    images: str | None,
    video: str | None,
    recording: Path | None,
    labels: Path | None,
    limit: int | None,
    path: Path | None,
    set_a: tuple[str, ...],
    set_b: tuple[str, ...],
    live: bool,
    endpoint: str,
    as_json: bool,
    html: Path | None,
) -> None:
    """Compare variants A and B of a model on the same frames, with intervals.

    A and B are model files; B is A unless given, and --set-b says what is different in it: any key
    of the configuration.  On a recording without A, its raw outputs are decoded with the options of
    both.  A difference is stated only where its interval of 95 % excludes zero.

    \b
    Examples:
      npud ab yolov8n.onnx --set-b model.input.letterbox=stretch --images photos/
      npud ab yolov8n.cpu-sigmoid.rknn yolov8n.npu-sigmoid.rknn --video gate.mp4 --html ab.html
      npud ab --recording gate.mcap --set-b model.sigmoid=exact
      npud ab --live
    """
    if live:
        follow(endpoint, as_json)
        return
    check_html(html)
    dataset = None
    if labels:
        pycocotools()  # what is missing is told now, not at the end
        dataset = open_dataset(labels)
        images = images or str(dataset.pictures[0].path.parent)
    sources = [s for s in (images, video, recording) if s]
    if len(sources) != 1:
        raise click.UsageError("expected one of --images, --video, --recording and --labels")
    if not (a or recording):
        raise click.UsageError("expected a model A, or --recording")
    settings = [_settings(path, model, more) for model, more in ((a, set_a), (b or a, set_b))]
    with contextlib.ExitStack() as stack:
        sides: list[Variant] = []
        for number, one in enumerate(settings):
            sides.append(_open(one, (a, b or a)[number], (set_a, set_b)[number], bool(labels)))
            stack.callback(sides[-1].close)
        items, block, total = _items(images, video, recording, limit, models=bool(a))
        with progress("comparing", total or 0) as advance:
            outcome = run(sides[0], sides[1], _labelled_only(items, dataset), block, advance)
    if not len(outcome.summary):
        raise ConfigError("expected at least one frame, got none")
    intervals = outcome.summary.intervals()
    figures = _figures(outcome, dataset, sides)
    if html:
        write_html(html, report(sides[0], sides[1], str(sources[0]), outcome, intervals, figures))
    _show(as_json, sides, outcome, intervals, figures)
    if outcome.interrupted:
        click.echo(f"npud: interrupted after {len(outcome.summary)} frames", err=True)
        sys.exit(INTERRUPTED)


def _settings(path: Path | None, model: str | None, more: tuple[str, ...]) -> Config:
    named = None if model == "bundled" else model
    return build(path, {"model": {"path": named}}, more)


def _open(settings: Config, model: str | None, more: tuple[str, ...], labels: bool) -> Variant:
    name = " ".join([model or "recorded outputs", *more])
    if model is None:
        return RecordedVariant(settings, name, variants.changed(settings.model, PLAIN.model))
    return ModelVariant(settings, name, LOWEST_SCORE if labels else 1.0)


def _items(
    images: str | None,
    video: str | None,
    recording: Path | None,
    limit: int | None,
    *,
    models: bool,
) -> tuple[Iterable[Item], int, int | None]:
    """(frames, how many of them belong together, how many there are where that is known)."""
    if images:
        return variants.images(images, limit), 1, len(list_images(images)[:limit])
    if video:
        return variants.video(video, limit), variants.rate_of(video), limit
    assert recording is not None  # noqa: S101 - one of the three is given
    return variants.recording(recording, limit, with_pictures=models), 25, limit


def _labelled_only(items: Iterable[Item], dataset: Dataset | None) -> Iterable[Item]:
    if dataset is None:
        return items
    known = {picture.path for picture in dataset.pictures}
    return (item for item in items if Path(item.frame.name) in known)


def _figures(outcome: Outcome, dataset: Dataset | None, sides: list[Variant]) -> Labelled | None:
    if dataset is None:
        return None
    pictures = matching_pictures(dataset.pictures, outcome.names)
    classes = class_map(dataset, sides[0].labels, len(sides[0].labels) or 1, ())
    thresholds = (sides[0].threshold, sides[1].threshold)
    return labelled(outcome, pictures, classes, thresholds)


def _show(
    as_json: bool,
    sides: list[Variant],
    outcome: Outcome,
    intervals: dict[str, Interval],
    figures: Labelled | None,
) -> None:
    summary = outcome.summary
    lines = [*summary.verdict(intervals), *summary.costs(intervals)]
    if as_json:
        document = _document(sides, outcome, intervals, figures)
        click.echo(json.dumps({**document, "verdict": lines}, indent=1))
        return
    console = Console(highlight=False)
    console.print(f"a  {sides[0].name}\nb  {sides[1].name}\n", markup=False)
    for line in lines:
        console.print(line, markup=False)
    for table in _tables(sides, outcome, intervals, figures):
        console.print(table)


def _document(
    sides: list[Variant],
    outcome: Outcome,
    intervals: dict[str, Interval],
    figures: Labelled | None,
) -> dict[str, Any]:
    """All figures, for JSON."""
    summary = outcome.summary
    document: dict[str, Any] = {
        "a": sides[0].name,
        "b": sides[1].name,
        "frames": len(summary),
        "complete": not outcome.interrupted,
        "figures": {k: vars(v) for k, v in intervals.items()},
        "spread": summary.spread(),
        "classes": by_label(summary, sides[0].labels),
        "outputs": [tally.to_dict() for tally in outcome.tallies.values()],
        "sides": {
            name: dict(zip(("distinct", "scores", "saturated"), side.levels.counts()))
            for name, side in zip("ab", sides)
        },
    }
    if figures:
        document["labels"] = {
            part: {k: vars(v) for k, v in getattr(figures, part).items()}
            for part in ("a", "b", "differences")
        }
    return document


def _tables(
    sides: list[Variant],
    outcome: Outcome,
    intervals: dict[str, Interval],
    figures: Labelled | None,
) -> Iterator[RenderableType]:
    """All figures, for a terminal."""
    summary = outcome.summary
    yield rich_table(("", "value", "interval of 95 %"), figures_rows(summary, intervals))
    yield rich_table(("matched boxes", "p50", "p95", "max"), distribution_rows(summary.spread()))
    if outcome.only_detections:
        yield Text(f"outputs are not compared: {outcome.only_detections}")
    elif outcome.tallies:
        outputs = [
            (t.what, f"{t.cosine:.6f}", f"{t.mean_absolute:.3g}", f"{t.max_absolute:.3g}")
            for t in outcome.tallies.values()
        ]
        yield rich_table(("output", "cosine", "mean |b-a|", "max |b-a|"), outputs)
    yield rich_table(CLASS_HEAD, class_rows(by_label(summary, sides[0].labels)))
    yield rich_table(SIDES, side_rows(sides[0], sides[1], summary))
    if figures:
        against = [
            (name, f"{figures.a[name].value:.4f}", f"{figures.b[name].value:.4f}", told[-1])
            for name, *told in labelled_rows(figures)
        ]
        yield rich_table(("against the labels", "a", "b", "b − a"), against)
