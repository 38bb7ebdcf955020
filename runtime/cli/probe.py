"""`npud probe`: what a model gives for a picture, and why it is wrong where it is."""

from __future__ import annotations

import json
from pathlib import Path

import click

from npud.errors import ConfigError
from runtime.cli._probe import as_json, as_text, ranges_as_text
from runtime.cli.options import backend as backend_option
from runtime.cli.options import build
from runtime.models.finding import TARGETS
from runtime.probe import ranges
from runtime.probe.probe import probe
from runtime.sources.images import list_images, read_image


@click.command(epilog="Exit code: 0 if nothing is wrong, 1 if something is, or on errors.")
@click.argument("model", required=False)
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="FLOAT_MODEL",
    help="The float model that MODEL was made from: judge by what it finds.",
)
@click.option(
    "--range",
    "said",
    multiple=True,
    metavar="NAME=LOW,HIGH",
    help="Lowest and highest class value that somebody wrote down, without any model.  NAME is "
    "float for the float model, anything for others.  May be given several times.",
)
@click.option(
    "--target", type=click.Choice(sorted(TARGETS)), help="The board that the model is meant for."
)
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="TOML configuration.")
@backend_option
@click.option("--json", "json_wanted", is_flag=True, help="Everything, as one JSON object.")
def command(
    model: str | None,
    images: tuple[str, ...],
    reference: Path | None,
    said: tuple[str, ...],
    target: str | None,
    path: Path | None,
    backend: str | None,
    json_wanted: bool,
) -> None:
    """Say what MODEL gives for IMAGE, whether that is healthy, and why not.

    What may be wrong is tried: pictures are fed with other colours, scale and fit, outputs are read
    with other heads, anchors and sigmoids, and what is found is compared.  Judged by the float
    model (--reference), else by the golden sample in the manifest, else by the pictures alone,
    which shows less: several pictures show more than one.  Without IMAGE the golden one is taken;
    "bundled" is the embedded street model, recordings (.npz) are models too.

    \b
    Examples:
      npud probe yolov8n.rknn bus.jpg --reference yolov8n.onnx
      npud probe bundled
      npud probe --range float=-229,82 --range int8=-14.5,-0.2
    """
    if said:
        if model is not None:
            raise ConfigError("--range: expected no MODEL beside it, got one")
        _ranges([_range(text) for text in said], json_wanted)
        return
    if model is None:
        raise ConfigError("expected a MODEL, or --range NAME=LOW,HIGH, got neither")
    named = None if model == "bundled" else model
    settings = build(path, {"model": {"path": named}, "backend": {"name": backend}})
    pictures = [read_image(name) for pattern in images for name in list_images(pattern)]
    report = probe(settings, pictures, reference, target or "")
    if json_wanted:
        click.echo(json.dumps(as_json(report), indent=1, allow_nan=False))
    else:
        click.echo(as_text(report), nl=False)
    if report.cause is not None:
        raise SystemExit(1)


def _ranges(said: list[ranges.Range], json_wanted: bool) -> None:
    findings = ranges.judge(said)
    if json_wanted:
        page = {"findings": [vars(finding) for finding in findings]}
        click.echo(json.dumps(page, indent=1))
    else:
        click.echo(ranges_as_text(findings), nl=False)
    if any(finding.level == "problem" for finding in findings):
        raise SystemExit(1)


def _range(text: str) -> ranges.Range:
    name, _, numbers = text.partition("=")
    try:
        low, high = map(float, numbers.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not name or not low <= high or not abs(low) + abs(high) < float("inf"):
        raise ConfigError(f"--range: expected NAME=LOW,HIGH, LOW ≤ HIGH, got {text!r}")
    return ranges.Range(name, low, high)
