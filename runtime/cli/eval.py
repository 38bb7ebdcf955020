"""`npud eval`: how right a model is, on labelled pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from runtime.accuracy.dataset import class_map, open_dataset
from runtime.accuracy.evaluate import (
    Run,
    as_json,
    at_lowest_score,
    header_of,
    run,
)
from runtime.accuracy.log import Log
from runtime.accuracy.metrics import figures_of
from runtime.cli._eval import progress, render
from runtime.cli.options import backend as backend_option
from runtime.cli.options import build, thresholds
from runtime.detector import Detector, read_model

INTERRUPTED = 130


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
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="TOML configuration.")
@backend_option
@click.option(
    "--log",
    "log_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where results go, picture by picture.  [eval-MODEL.jsonl]",
)
@click.option("--resume", is_flag=True, help="Go on where an interrupted run has ended.")
@click.option("--json", "json_wanted", is_flag=True, help="All figures, as one JSON object.")
@thresholds
def command(
    model: str,
    data: Path,
    images: Path | None,
    classes: str,
    limit: int | None,
    path: Path | None,
    backend: str | None,
    log_path: Path | None,
    resume: bool,
    json_wanted: bool,
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
    """
    named = None if model == "bundled" else model
    settings = build(
        path, {"model": {"path": named, **model_options}, "backend": {"name": backend}}
    )
    dataset = open_dataset(data, images)
    files = read_model(settings.model)
    lowest = at_lowest_score(settings.model)
    detector = Detector(files, lowest, settings.backend)
    wanted = [name.strip() for name in classes.split(",") if name.strip()]
    try:
        mapped = class_map(dataset, files.labels, detector.plan.num_classes, wanted)
        log_path = log_path or Path(f"eval-{files.path.stem}.jsonl")
        header = header_of(files, lowest, settings.backend, dataset, "deployed")
        log = Log(log_path, header, resume)
        pictures = dataset.pictures[:limit]
        with progress("evaluating", len(pictures)) as advance:
            done = run(detector, pictures, log, files.labels, advance)
    finally:
        detector.close()
    _end_if_nothing(done, log_path)
    figures = figures_of(done.pictures, done.results, mapped, settings.model.score_threshold)
    if json_wanted:
        document = {
            "model": files.name,
            "data": str(dataset.path),
            "of_images": len(pictures),
            "complete": not done.interrupted,
            "settings": {
                "iou_threshold": settings.model.iou_threshold,
                "max_detections": settings.model.max_detections,
            },
            **as_json(figures),
        }
        click.echo(json.dumps(document, indent=1))
    else:
        render(files, dataset, settings.model, figures, len(pictures))
    if done.interrupted:
        click.echo(
            f"npud: interrupted: the figures are those of {len(done.results)} of {len(pictures)} "
            f"pictures; --resume goes on ({log_path})",
            err=True,
        )
        sys.exit(INTERRUPTED)


def _end_if_nothing(done: Run, log_path: Path) -> None:
    if not done.results:
        click.echo(f"npud: interrupted: no picture was done ({log_path})", err=True)
        sys.exit(INTERRUPTED)
