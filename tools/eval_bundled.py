"""Measure the bundled detector on generated scenes it was not trained on.

    pip install numpy opencv-python onnxruntime pycocotools
    PYTHONPATH=. python tools/eval_bundled.py [--scenes 300] [--model runtime/bundled/street.onnx]

Decoding and non-maximum suppression are written here in plain NumPy, on purpose: this is a check
of the model that does not depend on npud's own post-processing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from runtime.scenes import LABELS, Street

SIDE = 320
# The seeds of streets used for training, and those kept for measuring; they never overlap.
TRAIN_SEEDS = range(1_000_000, 2_000_000_000)
EVAL_SEEDS = range(0, 1_000_000)

MODEL = Path(__file__).resolve().parents[1] / "runtime" / "bundled" / "street.onnx"
Boxes = NDArray[np.float32]


def letterbox(
    frame: NDArray[np.uint8], how: int = cv2.INTER_LINEAR
) -> tuple[NDArray[np.uint8], float, int, int]:
    """Centre a frame in the model's square, on grey; return it, the scale and the shifts."""
    height, width = frame.shape[:2]
    gain = min(SIDE / width, SIDE / height)
    w, h = round(width * gain), round(height * gain)
    left, top = (SIDE - w) // 2, (SIDE - h) // 2
    square = np.full((SIDE, SIDE, 3), 114, np.uint8)
    square[top : top + h, left : left + w] = cv2.resize(frame, (w, h), interpolation=how)
    return square, gain, left, top


def decode(outputs: list[NDArray[np.float32]], threshold: float) -> tuple[Boxes, Boxes, Any]:
    """Turn the six heads into boxes (in the model's square), scores and class ids."""
    boxes, scores, ids = [], [], []
    for sides, logits in zip(outputs[0::2], outputs[1::2]):
        stride = SIDE // logits.shape[2]
        kind = logits[0].argmax(0)
        score = 1 / (1 + np.exp(-logits[0].max(0)))
        j, i = np.nonzero(score > threshold)
        centre = np.stack([i, j], 1) + 0.5
        near, far = sides[0, :2, j, i], sides[0, 2:, j, i]
        boxes.append(np.concatenate([centre - near, centre + far], 1) * stride)
        scores.append(score[j, i])
        ids.append(kind[j, i])
    return np.concatenate(boxes), np.concatenate(scores), np.concatenate(ids)


def overlap(box: Boxes, boxes: Boxes) -> Boxes:
    """Return the IoU of one box with many."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    inter = np.clip(high - low, 0, None).prod(1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - inter
    ratio: Boxes = inter / np.maximum(union, 1e-9)
    return ratio


def suppress(boxes: Boxes, scores: Boxes, ids: Any, limit: float) -> list[int]:
    """Keep, class by class, the boxes that no better one covers."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable")[:1000]:
        same = [k for k in kept if ids[k] == ids[index]]
        if not same or overlap(boxes[index], boxes[same]).max() <= limit:
            kept.append(int(index))
    return kept


def matches(found: Boxes, ids: Any, truth: Boxes, truth_ids: Any) -> int:
    """Count the found boxes (best first) that hit an object of their class at IoU 0.5."""
    free = np.ones(len(truth), bool)
    hits = 0
    for box, kind in zip(found, ids):
        iou = overlap(box, truth) * (free & (truth_ids == kind)) if len(truth) else np.zeros(1)
        if iou.max() >= 0.5:
            free[iou.argmax()] = False
            hits += 1
    return hits


def measure(args: argparse.Namespace) -> None:
    """Run the model over the scenes and print how well it finds things."""
    session = ort.InferenceSession(str(args.model), providers=["CPUExecutionProvider"])
    names = [f"{kind}_{stride}" for stride in (8, 16, 32) for kind in ("box", "cls")]
    sizes = [(1280, 720), (640, 480), (1920, 1080)] if args.mixed else [(1280, 720)]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    spent, hits, shown, wanted = 0.0, 0, 0, 0
    for number in range(args.scenes):
        seed = EVAL_SEEDS[args.first + number]
        frame, truth = Street(seed, sizes[number % len(sizes)]).frame(number * 101)
        square, gain, left, top = letterbox(frame)
        tensor = square[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
        begun = time.perf_counter()
        outputs = session.run(names, {"images": tensor})
        spent += time.perf_counter() - begun
        boxes, scores, ids = decode(outputs, 0.001)
        boxes = (boxes - np.array([left, top, left, top])) / gain
        boxes = boxes.clip(0, np.array([frame.shape[1], frame.shape[0]] * 2))
        for k in suppress(boxes, scores, ids, 0.65)[:100]:
            x1, y1, x2, y2 = boxes[k].tolist()
            results.append(
                {
                    "image_id": number + 1,
                    "category_id": int(ids[k]) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(scores[k]),
                }
            )
        for (x1, y1, x2, y2), kind in zip(truth.boxes.tolist(), truth.class_ids.tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": kind + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
        sure = scores >= args.threshold
        boxes, scores, ids = boxes[sure], scores[sure], ids[sure]
        final = suppress(boxes, scores, ids, 0.45)
        hits += matches(boxes[final], ids[final], truth.boxes, truth.class_ids)
        shown += len(final)
        wanted += len(truth.boxes)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "annotations": annotations,
            "images": [{"id": number + 1} for number in range(args.scenes)],
            "categories": [{"id": k + 1, "name": name} for k, name in enumerate(LABELS)],
        }
        coco.createIndex()
        scoring = COCOeval(coco, coco.loadRes(results), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    print(f"{args.scenes} scenes, {wanted} objects")
    print(f"mAP50     {scoring.stats[1]:.3f}")
    print(f"mAP50-95  {scoring.stats[0]:.3f}")
    for k, name in enumerate(LABELS):
        precision = scoring.eval["precision"][:, :, k, 0, 2]
        print(f"  {name:14s} AP50 {precision[0].mean():.3f}  AP50-95 {precision.mean():.3f}")
    print(
        f"at score {args.threshold}, NMS IoU 0.45: precision {hits / max(shown, 1):.3f}, "
        f"recall {hits / max(wanted, 1):.3f}"
    )
    print(f"inference {1000 * spent / args.scenes:.2f} ms per frame (ONNX Runtime, CPU)")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--threshold", type=float, default=0.25)
    parser.add_argument("--mixed", action="store_true", help="several frame sizes, not only 720p")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
