"""`npud verify`: a model on its golden sample, through the real backend."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from npud.errors import ModelError
from runtime.cli._verify import as_text
from runtime.cli.options import backend as backend_option
from runtime.cli.options import build
from runtime.detector import Detector, read_model
from runtime.golden import canary, reference
from runtime.golden.judge import judge
from runtime.golden.reference import Reference
from runtime.golden.verdict import Agreement, Verdict, number
from runtime.models.manifest import Golden


@click.command(
    epilog="Exit code: 0 if the model is as its reference, 1 if it is not, or on errors."
)
@click.argument("model", default="bundled")
@click.option(
    "--golden",
    "samples",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Reference (.npz) with its picture (.png, same name) beside it, in place of the "
    "manifest's.  May be given several times.",
)
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="TOML configuration.")
@backend_option
@click.option("--json", "json_wanted", is_flag=True, help="Everything, as one JSON object.")
def command(
    model: str,
    samples: tuple[Path, ...],
    path: Path | None,
    backend: str | None,
    json_wanted: bool,
) -> None:
    """Run MODEL on its golden sample and say whether it finds what the float model found.

    MODEL is a model file with a manifest that has a [golden] table (npud manifest makes one), or
    "bundled" for the embedded street model.  It runs on the backend that `npud run` would take.

    \b
    Examples:
      npud verify yolo26n.rknn
      npud verify yolo26n.bin --golden bus.npz --golden night.npz --json
    """
    named = None if model == "bundled" else model
    settings = build(path, {"model": {"path": named}, "backend": {"name": backend}})
    files = read_model(settings.model)
    limits = files.manifest.golden or Golden(image="", reference="")
    references = _load(samples) if samples else {limits.reference: canary.sample_of(files)}
    detector = Detector(files, settings.model, settings.backend)
    try:
        verdicts = {
            name: (sample, judge(detector, sample, limits))
            for name, sample in references.items()
            if sample is not None
        }
        ran_on = detector.backend.probe()
    finally:
        detector.close()
    if not verdicts:
        raise ModelError(
            f"model {files.path}: expected a golden sample, its manifest has none; make one with: "
            f"npud manifest {files.path} --golden IMAGE --reference FLOAT_MODEL"
        )
    if json_wanted:
        results = [_json(name, sample, verdict) for name, (sample, verdict) in verdicts.items()]
        healthy = all(result["level"] == "ok" for result in results)
        page = {"model": files.name, "backend": ran_on, "healthy": healthy, "samples": results}
        click.echo(json.dumps(page, indent=1, allow_nan=False))
    else:
        click.echo(as_text(files.name, ran_on, limits, verdicts), nl=False)
    if not all(verdict.healthy for _, verdict in verdicts.values()):
        raise SystemExit(1)


def _load(samples: tuple[Path, ...]) -> dict[str, Reference | None]:
    return {
        str(path): reference.load(path.with_suffix(".png"), path.with_suffix(".npz"))
        for path in samples
    }


def _json(name: str, sample: Reference, verdict: Verdict) -> dict[str, Any]:
    figures = verdict.figures
    numbers = {
        field.name: getattr(figures, field.name)
        for field in dataclasses.fields(figures)
        if field.name != "outputs"
    }
    return {
        "golden": name,
        "reference_model": sample.meta.model,
        "level": verdict.level,
        "reason": verdict.reason,
        "remedy": verdict.remedy,
        "notes": list(verdict.notes),
        **{key: number(value) for key, value in numbers.items()},
        "outputs": [_output(output) for output in figures.outputs],
    }


def _output(output: Agreement) -> dict[str, Any]:
    rows: dict[str, Any] = {
        "role": output.key.role,
        "stride": output.key.stride,
        "cosine": output.cosine,
    }
    for name, row in (("now", output.now), ("reference", output.reference)):
        rows[name] = {k: number(v) for k, v in row._asdict().items()} if row else None
    return rows
