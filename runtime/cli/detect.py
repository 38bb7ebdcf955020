"""`npud detect`: detection in images, through the same code as the daemon's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from npud.errors import SourceError
from runtime.accuracy.records import record_of
from runtime.cli.options import backend as backend_option
from runtime.cli.options import build, thresholds
from runtime.cli.result import as_text
from runtime.detector import Detector, read_model
from runtime.draw import draw
from runtime.frame import Frame
from runtime.sources.images import list_images, read_image, write_image


@click.command
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="TOML configuration.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of text.")
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the pictures with the boxes drawn into them.",
)
@backend_option
@thresholds
def command(
    model: str,
    images: tuple[str, ...],
    path: Path | None,
    backend: str | None,
    as_json: bool,
    save: Path | None,
    **model_options: Any,
) -> None:
    """Detect objects in IMAGEs: files, directories or globs.

    MODEL is a model file, or "bundled" for the embedded street model.  Boxes are x1, y1, x2, y2 in
    pixels of the picture.  An image that cannot be read is an error once the others are done.

    \b
    Example:
      npud detect yolov8n.onnx bus.jpg --save out
    """
    named = None if model == "bundled" else model
    settings = build(
        path, {"model": {"path": named, **model_options}, "backend": {"name": backend}}
    )
    detector = Detector(read_model(settings.model), settings.model, settings.backend)
    results: list[dict[str, Any]] = []
    failures: list[str] = []
    try:
        for image in (p for pattern in images for p in _listed(pattern, failures)):
            try:
                results.append(_detect(detector, image, save))
            except SourceError as error:
                failures.append(str(error))
                continue
            if not as_json:
                click.echo(as_text(results[-1]))
    finally:
        detector.close()
    if as_json:
        click.echo(json.dumps(results, indent=1))
    if failures:
        raise SourceError("; ".join(failures))


def _listed(pattern: str, failures: list[str]) -> list[Path]:
    try:
        return list_images(pattern)
    except SourceError as error:
        failures.append(str(error))
        return []


def _detect(detector: Detector, image: Path, save: Path | None) -> dict[str, Any]:
    frame = Frame(read_image(image), name=str(image))
    found, timing = detector.detect(frame)
    labels = detector.files.labels
    if save:
        save.mkdir(parents=True, exist_ok=True)
        write_image(save / image.name, draw(frame.bgr(), found, labels))
    return record_of(image, frame, found, timing, labels)
