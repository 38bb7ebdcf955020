"""`npud eval`: how right a model is, on labelled pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from npud.errors import ConfigError
from runtime.accuracy import plots
from runtime.accuracy.dataset import class_map, open_dataset
from runtime.accuracy.evaluate import Lane, as_json, at_lowest_score, header_of, run
from runtime.accuracy.log import Log
from runtime.accuracy.metrics import Figures, figures_of
from runtime.accuracy.report import eval_page, waterfall_page, write_html
from runtime.cli import _waterfall
from runtime.cli._eval import progress, render
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

    def settings_of(name: str, config: Path | None, backend: str | None) -> Config:
        named = None if name == "bundled" else name
        return build(
            config, {"model": {"path": named, **model_options}, "backend": {"name": backend}}
        )

    if (float_model or npu_sigmoid or npu_sigmoid_config) and not waterfall:
        raise ConfigError("--float, --npu-sigmoid: expected --waterfall with them")
    if plot or html:
        plots.figure()  # what is missing for it is told now, not at the end
    deployed = settings_of(model, path, backend)
    dataset = open_dataset(data, images)
    stem = Path(deployed.model.path).stem if deployed.model.path else "bundled"
    log = log or Path(f"eval-{stem}.jsonl")
    wanted = [name.strip() for name in classes.split(",") if name.strip()]
    plan = _waterfall.Plan(dataset, wanted, limit, log, resume)
    if waterfall:
        others: list[Config | None] = [
            settings_of(float_model, None, None) if float_model else None,
            settings_of(npu_sigmoid, npu_sigmoid_config or path, backend) if npu_sigmoid else None,
        ]
        show = _show_waterfall(plan, deployed, others, json_wanted)
    else:
        show = _show_figures(plan, deployed, json_wanted)
    drawing, page, end = show
    if plot:
        plots.write_plot(drawing(), plot)
    if html:
        write_html(html, page())
    end()


Shown = tuple[Callable[[], Any], Callable[[], str], Callable[[], None]]


def _show_waterfall(
    plan: _waterfall.Plan, deployed: Config, others: list[Config | None], json_wanted: bool
) -> Shown:
    """Measure and print; returns what makes the plot and the page, and what ends the command."""
    pairs = [(one.model, one.backend) if one else None for one in others]
    rows, interrupted = _waterfall.measure(
        plan, (deployed.model, deployed.backend), pairs[0], pairs[1]
    )
    done = max((row.figures.images for row in rows if row.figures), default=0)
    total = len(plan.dataset.pictures[: plan.limit])
    if done and json_wanted:
        document = _about(plan, deployed, total, interrupted) | {
            "images": done,
            "waterfall": _waterfall.rows_json(rows),
        }
        click.echo(json.dumps(document, indent=1))
    elif done:
        click.echo(f"{plan.dataset.path} ({plan.dataset.kind}), {done} pictures\n")
        _waterfall.render(rows, deployed.model.score_threshold)
    return (
        lambda: plots.waterfall(rows),
        lambda: waterfall_page(str(plan.dataset.path), rows, interrupted),
        lambda: _end(interrupted, done, total, plan.log),
    )


def _show_figures(plan: _waterfall.Plan, deployed: Config, json_wanted: bool) -> Shown:
    """As _show_waterfall(), of the deployed way alone."""
    files, figures, interrupted = _evaluate(plan, deployed)
    total = len(plan.dataset.pictures[: plan.limit])
    if json_wanted:
        document = _about(plan, deployed, total, interrupted) | {"model": files.name}
        click.echo(json.dumps(document | as_json(figures), indent=1))
    elif figures.images:
        render(files, plan.dataset, deployed.model, figures, total)
    return (
        lambda: plots.classes(figures),
        lambda: eval_page(files.name, str(plan.dataset.path), figures, interrupted),
        lambda: _end(interrupted, figures.images, total, plan.log),
    )


def _evaluate(plan: _waterfall.Plan, deployed: Config) -> tuple[ModelFiles, Figures, bool]:
    files, lowest = read_model(deployed.model), at_lowest_score(deployed.model)
    pictures = plan.dataset.pictures[: plan.limit]
    detector = Detector(files, lowest, deployed.backend)
    try:
        count = detector.plan.num_classes
        mapped = class_map(plan.dataset, files.labels, count, plan.classes)
        header = header_of(files, lowest, deployed.backend, plan.dataset, "deployed")
        lane = Lane(detector, Log(plan.log, header, plan.resume), files.labels)
        with progress("evaluating", len(pictures)) as advance:
            (done,) = run([lane], pictures, advance)
    finally:
        detector.close()
    if not done.results:
        _end(True, 0, len(pictures), plan.log)
    figures = figures_of(done.pictures, done.results, mapped, deployed.model.score_threshold)
    return files, figures, done.interrupted


def _about(
    plan: _waterfall.Plan, deployed: Config, total: int, interrupted: bool
) -> dict[str, Any]:
    return {
        "data": str(plan.dataset.path),
        "of_images": total,
        "complete": not interrupted,
        "settings": {
            "iou_threshold": deployed.model.iou_threshold,
            "max_detections": deployed.model.max_detections,
        },
    }


def _end(interrupted: bool, done: int, total: int, log: Path) -> None:
    if interrupted:
        click.echo(
            f"npud: interrupted: the figures are those of {done} of {total} pictures; --resume "
            f"goes on ({log})",
            err=True,
        )
        sys.exit(INTERRUPTED)
