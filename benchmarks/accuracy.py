"""mAP of real models and of every form they are cut into, through `npud detect`, by pycocotools.

    python -m benchmarks.accuracy MODELS_DIR VARIANTS_DIR COCO_DIR

MODELS_DIR has the uncut .onnx files, VARIANTS_DIR the forms cut from them, COCO_DIR images/ and
instances.json.  Score > 0.001, at most 300 detections, one label per box; one-to-one heads
(YOLO26) without NMS and with all labels of a box, as their graph has it (a manifest is
written beside their forms), YOLOv5 at IoU 0.6, the others at 0.7.

Of the uncut models `npud eval` is run too; pycocotools on what `npud detect` prints is its oracle:
a difference of more than 1e-6 is an error.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SAME = 1e-6


def main() -> None:
    """Print mAP50-95 of each model and the difference to the uncut one, or to `npud eval`."""
    models, variants, coco = map(Path, sys.argv[1:4])
    print(f"{'model':<36}{'mAP50-95':>10}{'difference':>12}")
    for uncut in sorted(models.glob("*.onnx")):
        base = coco_map(coco / "instances.json", detect(uncut, coco / "images"))
        print(f"{uncut.stem:<36}{base:>10.4f}", flush=True)
        figure = evaluated(uncut, coco)
        print(f"  {'npud eval':<34}{figure:>10.4f}{figure - base:>+12.4f}", flush=True)
        if abs(figure - base) > SAME:
            raise SystemExit(f"npud eval: expected {base}, got {figure}")
        for cut in sorted(variants.glob(f"*{uncut.stem}*.onnx")):
            if "yolo26" in cut.stem:
                cut.with_suffix(".toml").write_text('nms = "none"\nmulti_label = true\n')
            value = coco_map(coco / "instances.json", detect(cut, coco / "images"))
            print(f"  {cut.stem:<34}{value:>10.4f}{value - base:>+12.4f}", flush=True)


def iou_threshold(model: Path) -> float:
    """The NMS threshold that suits a model of this name."""
    if "yolo26" in model.stem:
        return 1.0
    return 0.6 if "yolov5" in model.stem else 0.7


def detect(model: Path, images: Path, config: Path | None = None) -> list[dict[str, Any]]:
    """What `npud detect --json` finds at score 0.001."""
    options: list[object] = ["--config", config] if config else []
    found: list[dict[str, Any]] = npud("detect", model, images, "--score", 0.001, *options)
    return found


def evaluated(model: Path, coco: Path) -> float:
    """mAP50-95 by `npud eval`."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        return float(npud("eval", model, "--data", coco, "--log", log)["map50_95"])


def npud(command: str, model: Path, *options: object) -> Any:
    """What a command prints as JSON."""
    words = [command, model, *options, "--json", "--iou", iou_threshold(model)]
    line = [sys.executable, "-m", "runtime.cli", *map(str, words)]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return json.loads(ended.stdout)


def coco_map(annotations: Path, results: list[dict[str, Any]]) -> float:
    """mAP50-95, by pycocotools, of what `npud detect --json` printed."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        categories = sorted(truth.getCatIds())
        rows = [
            {
                "image_id": int(Path(result["image"]).stem),
                "category_id": categories[one["class_id"]],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": one["score"],
            }
            for result in results
            for one in result["detections"]
            for x1, y1, x2, y2 in [one["box"]]
        ]
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


if __name__ == "__main__":
    main()
