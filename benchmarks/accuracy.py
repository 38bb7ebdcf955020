"""mAP of real models and of every form they are cut into, through `npud detect`, by pycocotools.

    python -m benchmarks.accuracy MODELS_DIR VARIANTS_DIR COCO_DIR

MODELS_DIR has the uncut .onnx files, VARIANTS_DIR the forms cut from them, COCO_DIR images/ and
instances.json.  Score > 0.001, at most 300 detections, one label per box; one-to-one heads
(YOLO26) without NMS and with all labels of a box, as their graph has it (a manifest is
written beside their forms), YOLOv5 at IoU 0.6, the others at 0.7.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Print mAP50-95 of each model and the difference to the uncut one."""
    models, variants, coco = map(Path, sys.argv[1:4])
    print(f"{'model':<36}{'mAP50-95':>10}{'difference':>12}")
    for uncut in sorted(models.glob("*.onnx")):
        base = coco_map(coco / "instances.json", detect(uncut, coco / "images"))
        print(f"{uncut.stem:<36}{base:>10.4f}", flush=True)
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


def detect(model: Path, images: Path) -> list[dict[str, Any]]:
    """What `npud detect --json` finds at score 0.001."""
    options = ["--json", "--score", "0.001", "--iou", str(iou_threshold(model))]
    command = [sys.executable, "-m", "runtime.cli", "detect", str(model), str(images), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    return found


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
