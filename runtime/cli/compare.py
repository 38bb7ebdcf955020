"""`npud compare`: how far two models agree, on the same pictures."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from npud.errors import ConfigError
from postprocess.tensor import TensorSpec
from runtime.accuracy.compare import Comparison, compare, judge
from runtime.accuracy.report import check_html, compare_page, write_html
from runtime.accuracy.sides import Side, open_side
from runtime.accuracy.tally import Limits
from runtime.cli._compare import as_json, as_text
from runtime.cli._eval import progress
from runtime.cli.options import build, thresholds
from runtime.frame import Frame
from runtime.sources.images import list_images, read_image

INTERRUPTED = 130
Share = click.FloatRange(0, 1)
NotNegative = click.FloatRange(0)


@click.command(
    epilog="Exit code: 0 within the limits, 1 beyond them or with an error, 130 after Ctrl-C."
)
@click.argument("a")
@click.argument("b")
@click.option("--images", help="Pictures: a file, directory or glob.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N pictures.")
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="TOML configuration.")
@click.option("--backend-a", help="What runs A; see backend.name.  [auto]")
@click.option("--backend-b", help="What runs B; see backend.name.  [auto]")
@click.option("--size", metavar="WxH", help="The model's input, of a plain .npz beside another.")
@click.option("--rtol", type=NotNegative, default=Limits.rtol, show_default=True)
@click.option("--atol", type=NotNegative, default=Limits.atol, show_default=True)
@click.option(
    "--min-matched",
    type=Share,
    default=Limits.min_matched,
    show_default=True,
    help="Share of the detections that must match.",
)
@click.option(
    "--max-score-shift",
    type=Share,
    default=Limits.max_score_shift,
    show_default=True,
    help="Mean difference of matched scores, at most.",
)
@click.option(
    "--max-mismatched", type=Share, help="Share of an output's elements beyond rtol, atol.  [any]"
)
@click.option("--min-cosine", type=click.FloatRange(-1, 1), help="Cosine of each output.  [any]")
@click.option("--json", "json_wanted", is_flag=True, help="All figures, as one JSON object.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report with plots."
)
@thresholds
def command(
    a: str,
    b: str,
    images: str | None,
    limit: int | None,
    path: Path | None,
    backend_a: str | None,
    backend_b: str | None,
    size: str | None,
    json_wanted: bool,
    html: Path | None,
    **options: Any,
) -> None:
    """Compare models A (the reference) and B on pictures: outputs, and what they find.

    A model is any file that a backend runs, a recording (.mcap, .npz) of one, or an .npz of outputs
    by name.  Outputs are paired by stride and role and compared as real values; detections one to
    one, at IoU ≥ 0.5 and the same class.  A recording has its own frames: give the pictures that it
    was made from, in the same order; none with two recordings, or where the .mcap has them.

    \b
    Examples:
      npud compare yolov8n.onnx yolov8n.rknn --images photos/ --html report.html
      npud compare yolov8n.onnx gate.mcap
      npud compare float.npz board.npz --size 640x640 --min-matched 0.8
    """
    names = ("rtol", "atol", "min_matched", "max_score_shift", "max_mismatched", "min_cosine")
    check_html(html)
    limits = Limits(**{name: options.pop(name) for name in names})
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="npud-")))
        models = ((a, backend_a), (b, backend_b))
        side_a, side_b = _open(models, path, options, _inputs(size), scratch, stack)
        total, frames = _frames(images, (side_a, side_b))
        total = min(total, limit or total)
        with progress("comparing", total) as advance:
            result = compare(side_a, side_b, itertools.islice(frames, total), limits, advance)
    if not result.found:
        click.echo("npud: interrupted: no picture was done", err=True)
        sys.exit(INTERRUPTED)
    _show(result, limits, total, json_wanted, html)


def _show(
    result: Comparison, limits: Limits, total: int, json_wanted: bool, html: Path | None
) -> None:
    verdict, beyond = judge(result, limits)
    if html:
        write_html(html, compare_page(result, limits, verdict, beyond))
    if json_wanted:
        click.echo(json.dumps(as_json(result, limits, verdict, beyond), indent=1))
    else:
        click.echo(as_text(result, limits, verdict, beyond))
    if result.interrupted:
        done = len(result.found)
        click.echo(f"npud: interrupted: these are {done} of {total} pictures", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(1 if beyond else 0)


def _open(
    models: Sequence[tuple[str, str | None]],
    path: Path | None,
    options: dict[str, Any],
    inputs: Sequence[TensorSpec],
    scratch: Path,
    stack: contextlib.ExitStack,
) -> tuple[Side, Side]:
    """Both sides in order; what is a plain .npz is opened last, since the other knows the input."""
    sides: dict[int, Side] = {}
    order = sorted(range(2), key=lambda k: models[k][0].endswith(".npz"))
    for number in order:
        model, backend = models[number]
        named = None if model == "bundled" else model
        settings = build(path, {"model": {"path": named, **options}, "backend": {"name": backend}})
        folder = scratch / str(number)
        folder.mkdir()
        side = open_side(settings.model, settings.backend, inputs, folder)
        stack.callback(side.detector.close)
        sides[number] = side
        inputs = inputs or side.detector.backend.inputs
    return sides[0], sides[1]


def _inputs(size: str | None) -> tuple[TensorSpec, ...]:
    """An input of this size, for what does not say its own."""
    if size is None:
        return ()
    found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", size)
    if not found:
        raise ConfigError(f"--size: expected WIDTHxHEIGHT, e.g. 640x640, got {size!r}")
    width, height = int(found[1]), int(found[2])
    return (TensorSpec("images", (1, 3, height, width), np.dtype(np.float32), "nchw"),)


def _frames(images: str | None, sides: Sequence[Side]) -> tuple[int, Iterator[Frame]]:
    """How many pictures to run, and those: given, recorded, or blank ones for two recordings."""
    counts = {side.frames for side in sides if side.frames}
    if len(counts) > 1:
        raise ConfigError(f"expected recordings of as many frames, got {sorted(counts)}")
    count = max(counts, default=0)
    if images is not None:
        paths = list_images(images)
        if counts and count != len(paths):
            raise ConfigError(
                f"--images: expected the {count} pictures that were recorded, got {len(paths)}"
            )
        return len(paths), (Frame(read_image(path), name=str(path)) for path in paths)
    if all(side.frames for side in sides):
        height, width = sides[0].detector.input.size
        blank = np.zeros((height, width, 3), np.uint8)
        return count, (Frame(blank, name=f"frame {number}") for number in range(count))
    filmed = [side for side in sides if side.film]
    if not filmed:
        raise ConfigError("--images: expected pictures, which models need")
    return count, filmed[0].pictures()
