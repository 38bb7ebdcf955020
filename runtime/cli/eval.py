"""`npud eval`: how right a model is, on labelled pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from npud.errors import ConfigError
from runtime import config
from runtime.accuracy import plots
from runtime.accuracy.dataset import class_map, open_dataset
from runtime.accuracy.evaluate import Lane, as_json, at_lowest_score, header_of, run
from runtime.accuracy.log import Log
from runtime.accuracy.metrics import Figures, figures_of, pycocotools
from runtime.accuracy.report import check_html, eval_page, waterfall_page, write_html
from runtime.cli import _waterfall
from runtime.cli._eval import Plan, progress, render
from runtime.cli.options import backend as backend_option
from runtime.cli.options import build, thresholds
from runtime.config import Config
from runtime.detector import Detector, ModelFiles, read_model

INTERRUPTED = 130
TOML = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog="Exit code: 0 when all pictures are done, 130 when Ctrl-C ended it.")
@click.argument("model")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Labels: a COCO .json, a YOLO data.yaml or folder, a Pascal VOC folder.",
)
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder of the pictures, if not beside them."
)
@click.option("--classes", default="", help="Only these, e.g. person,car.  [all]")
@click.option("--limit", type=click.IntRange(1), help="Only the first N pictures.")
@click.option("-c", "--config", "path", type=TOML, help="TOML configuration.")
@backend_option
@click.option("--log", type=FILE, help="Where results go, picture by picture.  [eval-MODEL.jsonl]")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run has ended.")
@click.option("--waterfall", is_flag=True, help="What each step from the float model on costs.")
@click.option("--float", "float_model", metavar="MODEL", help="Waterfall: the float .onnx.")
@click.option(
    "--npu-sigmoid", metavar="MODEL", help="Waterfall: the model with its sigmoid on the NPU."
)
@click.option(
    "--npu-sigmoid-config", type=TOML, help="Waterfall: its configuration.  [that of MODEL]"
)
@click.option("--json", "json_wanted", is_flag=True, help="All figures, as one JSON object.")
@click.option("--plot", type=FILE, help="Write a plot: .png, .svg or .pdf.")
@click.option("--html", type=FILE, help="Write a report with plots.")
@thresholds
def command(
    model: str,
    data: Path,
    images: Path | None,
    classes: str,
    limit: int | None,
    path: Path | None,
    backend: str | None,
    log: Path | None,
    resume: bool,
    waterfall: bool,
    float_model: str | None,
    npu_sigmoid: str | None,
    npu_sigmoid_config: Path | None,
    json_wanted: bool,
    plot: Path | None,
    html: Path | None,
    **model_options: Any,
) -> None:
    """Evaluate MODEL on labelled pictures: mAP, precision, recall and F1, per class.

    The whole way counts, as the daemon goes it: pre-processing, model, post-processing.  mAP is
    pycocotools', from all detections down to a score of 0.001; precision, recall and F1 are those
    at the configured score threshold, and at the one with the best F1.  Published mAPs are measured
    with --iou 0.7.

    \b
    Examples:
      npud eval yolov8n.onnx --data coco/annotations/instances_val2017.json --iou 0.7
      npud eval yolov8n.rknn --data my-labels/ --classes person,car --json
      npud eval yolov8n.rknn --backend rknn-sim --data coco/ --waterfall --float yolov8n.onnx
    """
    _check(waterfall, float_model, npu_sigmoid, npu_sigmoid_config)
    pycocotools()  # what is missing is told now, not at the end
    check_html(html)
    if plot:
        plots.figure()
    deployed = _settings(model, path, backend, model_options)
    dataset = open_dataset(data, images)
    stem = Path(deployed.model.path).stem if deployed.model.path else "bundled"
    log = log or Path(f"eval-{stem}.jsonl")
    wanted = [name.strip() for name in classes.split(",") if name.strip()]
    plan = Plan(dataset, wanted, limit, log, resume)
    if waterfall:
        floats = variant = None
        if float_model:  # on this machine's CPU, in floats
            floats = (
                _of_another(_settings(float_model, path, None, model_options)),
                config.Backend(),
            )
        if npu_sigmoid:
            own = _settings(npu_sigmoid, npu_sigmoid_config or path, backend, model_options)
            variant = own.model if npu_sigmoid_config else _of_another(own), own.backend
        outcome = _measure_steps(plan, deployed, (floats, variant), json_wanted)
    else:
        outcome = _measure(plan, deployed, json_wanted)
    if outcome.done and plot:
        plots.write_plot(outcome.draw(), plot)
    if outcome.done and html:
        write_html(html, outcome.page())
    if outcome.interrupted:
        click.echo(
            f"npud: interrupted: the figures are those of {outcome.done} of {plan.total} pictures; "
            f"--resume goes on ({log})",
            err=True,
        )
        sys.exit(INTERRUPTED)


Pair = tuple[config.Model, config.Backend]


def _check(
    waterfall: bool, float_model: str | None, npu_sigmoid: str | None, own_config: Path | None
) -> None:
    if (float_model or npu_sigmoid) and not waterfall:
        raise ConfigError("--float, --npu-sigmoid: expected --waterfall with them")
    if own_config and not npu_sigmoid:
        raise ConfigError("--npu-sigmoid-config: expected --npu-sigmoid with it")


def _settings(name: str, path: Path | None, backend: str | None, options: dict[str, Any]) -> Config:
    model = {"path": None if name == "bundled" else name, **options}
    return build(path, {"model": model, "backend": {"name": backend}})


def _of_another(settings: Config) -> config.Model:
    """[model] without what it says of the deployed model itself."""
    return msgspec.structs.replace(settings.model, manifest=None, input=config.Model().input)


@dataclass(frozen=True)
class Outcome:
    """What was printed already, as plot and page, and how many pictures it is of."""

    done: int
    interrupted: bool
    draw: Callable[[], Any]
    page: Callable[[], str]


def _measure_steps(
    plan: Plan, deployed: Config, others: Sequence[Pair | None], json_wanted: bool
) -> Outcome:
    rows, interrupted = _waterfall.measure(plan, (deployed.model, deployed.backend), *others)
    done = max((row.figures.images for row in rows if row.figures), default=0)
    if done and json_wanted:
        document = _about(plan, deployed, interrupted) | {
            "images": done,
            "waterfall": _waterfall.rows_json(rows),
        }
        click.echo(json.dumps(document, indent=1))
    elif done:
        click.echo(f"{plan.dataset.path} ({plan.dataset.kind}), {done} pictures\n")
        _waterfall.render(rows, deployed.model.score_threshold)
    data = str(plan.dataset.path)
    return Outcome(
        done,
        interrupted,
        lambda: plots.waterfall(rows),
        lambda: waterfall_page(data, rows, interrupted),
    )


def _measure(plan: Plan, deployed: Config, json_wanted: bool) -> Outcome:
    files, figures, interrupted = _evaluate(plan, deployed)
    if figures.images and json_wanted:
        document = _about(plan, deployed, interrupted) | {"model": files.name}
        click.echo(json.dumps(document | as_json(figures), indent=1))
    elif figures.images:
        render(files, plan.dataset, deployed.model, figures, plan.total)
    data = str(plan.dataset.path)
    return Outcome(
        figures.images,
        interrupted,
        lambda: plots.classes(figures),
        lambda: eval_page(files.name, data, figures, interrupted),
    )


def _evaluate(plan: Plan, deployed: Config) -> tuple[ModelFiles, Figures, bool]:
    files, lowest = read_model(deployed.model), at_lowest_score(deployed.model)
    detector = Detector(files, lowest, deployed.backend)
    try:
        count = detector.plan.num_classes
        mapped = class_map(plan.dataset, files.labels, count, plan.classes)
        header = header_of(files, lowest, deployed.backend, plan.dataset, "deployed")
        lane = Lane(detector, Log(plan.log, header, plan.resume), files.labels)
        with progress("evaluating", plan.total) as advance:
            (done,) = run([lane], plan.pictures, advance)
    finally:
        detector.close()
    figures = figures_of(done.pictures, done.results, mapped, deployed.model.score_threshold)
    return files, figures, done.interrupted


def _about(plan: Plan, deployed: Config, interrupted: bool) -> dict[str, Any]:
    return {
        "data": str(plan.dataset.path),
        "of_images": plan.total,
        "complete": not interrupted,
        "settings": {
            "iou_threshold": deployed.model.iou_threshold,
            "max_detections": deployed.model.max_detections,
        },
    }
