"""`npud inspect`: what a model file says about itself, and what is wrong with it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import msgspec

from npud.errors import ModelError
from runtime import bundled, models
from runtime.cli._inspect import as_text
from runtime.cli._inspect_json import as_json
from runtime.models import findings
from runtime.models import manifest as manifests
from runtime.models.finding import TARGETS, Subject
from runtime.models.heads import hints_of, input_size, plan_of
from runtime.models.manifest import Manifest


@click.command(epilog="Exit code: 0 if nothing is wrong, 1 with a problem or an unreadable file.")
@click.argument("model")
@click.option("--json", "json_wanted", is_flag=True, help="Everything, as one JSON object.")
@click.option(
    "--target", type=click.Choice(sorted(TARGETS)), help="The board that the model is meant for."
)
def command(model: str, json_wanted: bool, target: str | None) -> None:
    """Show what a MODEL file (.onnx, .rknn, .bin) is, how npud reads it, and what is wrong with it.

    Nothing is run and no vendor software is needed.  The manifest beside the file counts; "bundled"
    is the embedded street model.

    \b
    Examples:
      npud inspect yolov8n.rknn --target rk3588
      npud inspect yolo26n.bin --json | jq '.findings[] | select(.level != "ok")'
    """
    path = bundled.MODEL if model == "bundled" else Path(model)
    subject = read_subject(path, target or "")
    results = findings.check(subject)
    if json_wanted:
        click.echo(json.dumps(as_json(path, subject, results), indent=1, allow_nan=False))
    else:
        click.echo(as_text(path, subject, results))
    if any(finding.level == "problem" for finding in results):
        raise SystemExit(1)


def read_subject(path: Path, target: str = "") -> Subject:
    """A model file with its manifest and head; raises ModelError or ConfigError."""
    info = models.describe(path)
    beside = manifests.beside(path)
    manifest = manifests.read(beside) if beside.is_file() else Manifest()
    labels = manifest.labels if manifest.labels is not None else info.labels
    foreign = "" if manifest.digest in (None, models.digest(path)) else str(manifest.digest)
    rest: dict[str, Any] = {"stated": _stated(manifest), "foreign": foreign}
    refusal = ""
    for count in (len(labels) or None, None):  # a wrong number of labels is a finding of its own
        hints = hints_of(manifest)
        if count:
            hints = dataclasses.replace(hints, num_classes=count)
        try:
            size = input_size(info, manifest.input.size)
            plan = plan_of(info, info.outputs, size, hints)
            return Subject(info, labels, target, plan, **rest)
        except ModelError as error:
            refusal = refusal or str(error)
    return Subject(info, labels, target, refusal=refusal, **rest)


def _stated(manifest: Manifest) -> frozenset[str]:
    """The keys that the manifest has."""
    keys = msgspec.structs.asdict(manifest).items()
    return frozenset(key for key, value in keys if value is not None)
