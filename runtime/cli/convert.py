"""`npud convert`: a float model to a board's, with the vendor's own toolkit, verified at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from npud.errors import ConfigError
from runtime import bundled
from runtime.golden.verdict import Verdict, number
from runtime.toolkits import record, result
from runtime.toolkits.convert import Converted, Order, convert, install, open_float, plan, warnings
from runtime.toolkits.targets import TARGETS, target_of


@click.command(epilog="Exit code: 0 when the converted model passes its golden sample, else 1.")
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--target", required=True, metavar="CHIP", help=f"One of {', '.join(TARGETS)}.")
@click.option(
    "--quantization",
    type=click.Choice(["int8", "fp16"]),
    default="int8",
    show_default=True,
    help="Type of the weights and tensors; the RDK X5 has int8 only.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Pictures for int8: a directory, or a .txt that lists them (npud calib).",
)
@click.option(
    "--pictures",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="At most so many of them, evenly spread.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write.  [MODEL_CHIP_int8.rknn or .bin, beside MODEL]",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the toolkit's own, e.g. quantized_algorithm=mmse; VALUE may be JSON.",
)
@click.option("--optimize", metavar="LEVEL", help="rdkx5: O0 (seconds) to O3 (minutes).  [O3]")
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Picture to verify the result on.  [the manifest's golden, or a calibration picture]",
)
@click.option("--install", "only_install", is_flag=True, help="Install the toolkit and end.")
@click.option("--toolkit-version", metavar="X.Y.Z", help="rknn-toolkit2: as the board's librknnrt.")
@click.option("--python", metavar="FILE", help="Python to install the toolkit with.")
@click.option("--force", is_flag=True, help="Replace a model that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of text.")
def command(
    model: Path | None,
    target: str,
    quantization: Any,
    calibration: Path | None,
    pictures: int,
    output: Path | None,
    assignments: tuple[str, ...],
    optimize: str | None,
    picture: Path | None,
    only_install: bool,
    toolkit_version: str | None,
    python: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Convert a MODEL (.onnx, its post-processing cut off) for a board, and verify the result.

    The vendor's toolkit runs in an environment of its own, which is installed at the first use (2
    to 3 GB on disk).  How pictures are fed is read from the manifest beside MODEL; calibration
    pictures are letterboxed as at run time.  Written are the model, its manifest with the golden
    sample, and MODEL.conversion/ with the toolkit's log and what the simulator needs.  In the end
    the model is run in the vendor's simulator and held against what the float model finds.

    \b
    Examples:
      npud prepare yolov8n.onnx --sigmoid npu -o cut
      npud convert cut/yolov8n.npu-sigmoid.onnx --target rk3588 --calibration pictures/
      npud prepare yolo26n.onnx --layout drobotics --sigmoid cpu -o nhwc
      npud convert nhwc/yolo26n.cpu-sigmoid.onnx --target rdkx5 --calibration pictures/
      npud convert --target rk3588 --install
    """
    chip = target_of(target, "int8" if only_install else quantization)
    if only_install:
        installed = install(chip, toolkit_version, python, _say)
        click.echo(f"{installed.toolkit} in {installed.folder}")
        return
    if model is None:
        raise click.UsageError("expected a MODEL (.onnx)")
    if str(model) == "bundled":
        output = output or Path(f"street_{target}_{quantization}{chip.suffix}")
        model = bundled.MODEL
    settings = settings_of(assignments)
    if optimize is not None:
        if chip.vendor != "drobotics":
            raise ConfigError(f"--optimize: expected none for {target}: it is hb_mapper's")
        settings["optimize_level"] = optimize
    order = Order(
        source=model,
        target=chip,
        quantization=quantization,
        calibration=calibration,
        pictures=pictures,
        output=output or model.with_name(f"{model.stem}_{target}_{quantization}{chip.suffix}"),
        settings=settings,
        force=force,
    )
    detector = open_float(model)
    try:
        job, chosen = plan(order, detector)
        golden = result.golden_of(order, detector, picture)
        for doubt in warnings(order, detector, chosen):
            _say(f"warning: {doubt}")
        environment = install(chip, toolkit_version, python, _say)
        done = convert(order, job, chosen, environment, _say)
        manifest = result.write(order, detector, done, golden)
    finally:
        detector.close()
    _say(f"verifying in {chip.simulator}")
    verdict = result.verify(order.output, chip.simulator, golden)
    click.echo(_json(done, manifest, verdict) if as_json else as_text(done, manifest, verdict))
    if not verdict.healthy:
        raise SystemExit(1)


def settings_of(assignments: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts as a table; a VALUE that is no JSON is a text.  Raises ConfigError."""
    settings: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set: expected KEY=VALUE, got {text!r}")
        try:
            settings[key.strip()] = json.loads(value)
        except ValueError:
            settings[key.strip()] = value
    return settings


def _say(text: str) -> None:
    click.echo(f"npud: {text}", err=True)


def as_text(done: Converted, manifest: Path, verdict: Verdict) -> str:
    """What was written, and the verdict on it."""
    f = verdict.figures
    least = f.least_cosine
    used = done.calibration
    count = "" if used is None else f", calibrated on {len(used.pictures)} pictures ({used.digest})"
    return "\n".join(
        [
            f"wrote {done.output} ({done.output.stat().st_size / 1e6:.1f} MB)",
            f"  {done.toolkit} {done.made.version} for {done.target.word}{count}",
            f"  manifest {manifest.name}, by-products in {record.folder_of(done.output).name}/",
            f"verified in {done.target.simulator}: {verdict.level}",
            f"  {f.matched} of {f.reference} reference detections matched, {f.extra} others"
            + (f"; scores {f.score_shift:+.3f} on average, IoU {f.iou:.3f}" if f.matched else ""),
            f"  highest class logit {f.peak:.2f}, the float model's {f.reference_peak:.2f}"
            + (f"; least cosine {least:.4f}" if least is not None else ""),
            *([] if verdict.healthy else [f"  {verdict.reason}; {verdict.remedy}"]),
        ]
    )


def _json(done: Converted, manifest: Path, verdict: Verdict) -> str:
    f, used = verdict.figures, done.calibration
    document = {
        "output": str(done.output),
        "manifest": str(manifest),
        "toolkit": done.toolkit,
        "version": done.made.version,
        "target": done.target.word,
        "parameters": done.made.parameters,
        "calibration": None
        if used is None
        else {"count": len(used.pictures), "digest": used.digest},
        "verdict": {
            "level": verdict.level,
            "reason": verdict.reason,
            "remedy": verdict.remedy,
            "simulator": done.target.simulator,
            "reference": f.reference,
            "found": f.found,
            "matched": f.matched,
            "score_shift": number(f.score_shift),
            "iou": number(f.iou),
            "peak": number(f.peak),
            "reference_peak": number(f.reference_peak),
            "least_cosine": f.least_cosine,
        },
    }
    return json.dumps(document, indent=1)
