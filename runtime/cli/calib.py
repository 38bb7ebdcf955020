"""`npud calib`: what is wrong with a calibration set, and a diverse part of it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from npud.errors import ConfigError, EndOfStream, ModelError
from runtime import models
from runtime.calib.checks import check
from runtime.calib.folder import read_set
from runtime.calib.pick import pick
from runtime.calib.sample import Sample, sample_of
from runtime.calib.subject import Subject
from runtime.cli._inspect import findings_text
from runtime.cli.sizes import PIXELS
from runtime.models import manifest as manifests
from runtime.models.info import picture_size
from runtime.models.manifest import Manifest
from runtime.sources import open_source


@click.command(epilog="Exit code: 0 if nothing is wrong, 1 with a problem.")
@click.argument("where", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    metavar="M",
    help="The model's .toml: input size, letterbox, colours; the model beside it counts, too.",
)
@click.option("--size", type=PIXELS, metavar="WxH", help="The model's input, where M has none.")
@click.option("--camera", metavar="SOURCE", help="The deployed camera, a video or pictures of it.")
@click.option(
    "--frames",
    type=click.IntRange(1, 10_000),
    default=30,
    show_default=True,
    help="So many of the camera's frames are compared with the set.",
)
@click.option("--pick", "number", type=click.IntRange(1), metavar="N", help="Choose N, diverse.")
@click.option(
    "--list",
    "list_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the chosen paths there, one a line, as rknn-toolkit2's dataset.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of text.")
def command(
    where: Path,
    manifest: Path | None,
    size: tuple[int, int] | None,
    camera: str | None,
    frames: int,
    number: int | None,
    list_path: Path | None,
    as_json: bool,
) -> None:
    """Check the pictures in DIR that a toolchain is to calibrate int8 ranges on.

    DIR has images, or ready-made tensors (.npy, raw .bin); or it is a .txt with a path on each
    line.  Nothing is changed.

    \b
    Examples:
      npud calib pictures/ --manifest yolov8n.toml --camera rtsp://10.0.0.7/live
      npud calib pictures/ --pick 100 --list dataset.txt
    """
    if list_path and not number:
        raise click.UsageError("--list needs --pick N")
    stated = manifests.read(manifest) if manifest else Manifest()
    wanted = size or stated.input.size or (_size_beside(manifest) if manifest else None)
    found = read_set(where, wanted, stated.input.color or "rgb")
    subject = Subject(found, wanted, stated, tuple(_frames(camera, frames)) if camera else ())
    findings = check(subject)
    picked = [str(sample.path) for sample in pick(found.samples, number)] if number else None
    if list_path and picked is not None:
        _write(list_path, picked)
    if as_json:
        result = {
            "path": str(where),
            "pictures": len(found.samples),
            "tensors": len(found.tensors),
            "ignored": found.ignored,
            "input_size": wanted,
            "findings": [vars(finding) for finding in findings],
            "picked": picked,
        }
        click.echo(json.dumps(result, indent=1))
    else:
        click.echo("\n".join(findings_text(findings)))
        _echo_picked(picked, len(found.samples), list_path)
    if any(finding.level == "problem" for finding in findings):
        raise SystemExit(1)


def _echo_picked(picked: list[str] | None, total: int, list_path: Path | None) -> None:
    if picked is None:
        return
    click.echo(f"\npicked {len(picked)} of {total}" + (f": {list_path}" if list_path else ""))
    if not list_path:
        click.echo("\n".join(picked))


def _size_beside(manifest: Path) -> tuple[int, int] | None:
    """(height, width) of the model whose manifest it is, where that file is there."""
    for suffix in models.READERS:
        path = manifest.with_suffix(suffix)
        if not path.is_file():
            continue
        try:
            info = models.describe(path)
        except ModelError:
            continue
        size = picture_size(info.picture) if info.picture else None
        if size and all(size):
            return size
        if info.input_size:
            return info.input_size
    return None


def _frames(camera: str, number: int) -> list[Sample]:
    """Figures of the camera's next frames."""
    source = open_source(camera)
    samples = []
    try:
        for _ in range(number):
            samples.append(sample_of(Path(camera), source.read().bgr()))
    except EndOfStream:
        pass  # a short file is compared as far as it goes
    finally:
        source.close()
    return samples


def _write(path: Path, picked: list[str]) -> None:
    try:
        path.write_text("".join(f"{Path(one).resolve()}\n" for one in picked))
    except OSError as error:
        raise ConfigError(f"{path}: cannot write: {error.strerror or error}") from None
