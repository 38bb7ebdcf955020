"""Synthetic but realistic outputs of YOLO heads: 640×640, strides 8/16/32, 80 classes, 8400 cells.

R   about 60 objects, about 300 candidates over 0.25, background logits around -6
Q   R with a quieter background
M   as an mAP evaluation sees it: threshold 0.001
S   stress: all 8400 cells pass 0.25, random boxes, 80 classes evenly
S1  stress: all pass, one class

`python -m benchmarks.heads FOLDER [CASE…]` writes them as raw bytes.  The order of the random
draws is fixed: the same NumPy on the same CPU gives the same bytes for ever.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CASES = ("R", "Q", "M", "S", "S1")
CLASSES = 80
BINS = 16
GRIDS = ((80, 8), (40, 16), (20, 32))  # cells per side, stride in pixels
FIRST = (0, 6400, 8000, 8400)
CELLS = FIRST[-1]
ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
# real = (stored - zero point) * scale
PROBABILITY = (np.float32(1 / 255), -128)
LOGIT = (np.float32(24 / 255), 40)
BOX = (np.float32(16 / 255), 0)
BOX_INT32_SCALE = np.float32(1e-4)
# mean, deviation, lowest and highest of the background's class logits
BACKGROUND = {"Q": (-8, 0.8, -12, -4), "M": (-11, 1.6, -16, -4.2)}
USUAL_BACKGROUND = (-6, 0.6, -10, -3)

Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]


def threshold_of(case: str) -> float:
    """The score threshold that belongs to a case."""
    return 0.001 if case == "M" else 0.25


def make(case: str, seed: int = 7) -> tuple[Floats, Floats, Floats]:
    """Class logits (8400, 80), DFL logits (8400, 64), their distances in cells (8400, 4)."""
    rng = np.random.default_rng(seed)
    mean, deviation, low, high = BACKGROUND.get(case, USUAL_BACKGROUND)
    cls = np.clip(rng.normal(mean, deviation, (CELLS, CLASSES)), low, high).astype(np.float32)
    ltrb = rng.uniform(0.5, 6, (CELLS, 4))
    if case == "S":
        cls[np.arange(CELLS), rng.integers(0, CLASSES, CELLS)] = rng.uniform(-0.9, 4, CELLS)
    elif case == "S1":
        cls[:, 0] = rng.uniform(-0.9, 4, CELLS)
    else:
        for _ in range(60):
            _add_object(rng, cls, ltrb)
    bins = np.arange(BINS)
    offset = np.abs(bins[None, None, :] - ltrb[:, :, None])
    dfl = (6 - 2.2 * offset + rng.normal(0, 0.15, offset.shape)).clip(-8, 8).astype(np.float32)
    e = np.exp(dfl)
    distances = ((e * bins).sum(2) / e.sum(2)).astype(np.float32)
    return cls, dfl.reshape(CELLS, 4 * BINS), distances


def _add_object(rng: np.random.Generator, cls: Floats, ltrb: NDArray[np.float64]) -> None:
    """One object: up to eight cells around its centre see it, the nearest best."""
    level = rng.choice(3, p=[0.5, 0.32, 0.18])
    grid, stride = GRIDS[level]
    w, h = rng.uniform(2.5, 9) * stride, rng.uniform(2.5, 9) * stride
    cx, cy = rng.uniform(w / 2, 640 - w / 2), rng.uniform(h / 2, 640 - h / 2)
    class_id = int(rng.choice(CLASSES) if rng.random() < 0.5 else rng.choice([0, 2, 7, 16]))
    seen_by = int(rng.integers(2, 9))
    column, row = int(cx // stride), int(cy // stride)
    near = [(column + dx, row + dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    near.sort(key=lambda c: (c[0] + 0.5 - cx / stride) ** 2 + (c[1] + 0.5 - cy / stride) ** 2)
    for nth, (x, y) in enumerate(near[:seen_by]):
        if not (0 <= x < grid and 0 <= y < grid):
            continue
        cell = FIRST[level] + y * grid + x
        cls[cell, class_id] = rng.uniform(0.2, 2.6) - 0.22 * nth + (0 if nth else 0.8)
        if rng.random() < 0.25:
            cls[cell, (class_id + 1) % CLASSES] = rng.uniform(-3, -1.5)
        jitter = rng.normal(0, 0.06, 4) * np.array([w, h, w, h]) / stride
        left, top = x + 0.5 - (cx - w / 2) / stride, y + 0.5 - (cy - h / 2) / stride
        right, bottom = (cx + w / 2) / stride - x - 0.5, (cy + h / 2) / stride - y - 0.5
        ltrb[cell] = np.clip(np.array([left, top, right, bottom]) + jitter, 0.05, 14.5)


def quantized(x: NDArray[Any], scale: np.float32, zero_point: int) -> NDArray[np.int8]:
    """As a converter does it: round to nearest, saturate."""
    return np.clip(np.rint(x / scale) + zero_point, -128, 127).astype(np.int8)


def tensors(case: str) -> Arrays:
    """Every tensor of a case by name: LAYOUT_ROLE_DTYPE_LEVEL, v5_DTYPE_LEVEL, ultra."""
    cls, dfl, distances = make(case)
    prob = 1 / (1 + np.exp(-cls))
    found = _per_stride(cls, dfl, distances, prob)
    found |= _anchor_heads(case, distances, prob)
    found["ultra"] = _flat(distances, prob)
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def _per_stride(cls: Floats, dfl: Floats, distances: Floats, prob: Floats) -> Arrays:
    score_sum = np.clip(prob.sum(1), 0, 1).astype(np.float32)
    found: Arrays = {}
    for i, (grid, _) in enumerate(GRIDS):
        cells = slice(FIRST[i], FIRST[i + 1])
        roles = {
            "box": (dfl[cells], BOX),
            "prob": (prob[cells].astype(np.float32), PROBABILITY),
            "logit": (cls[cells], LOGIT),
        }
        for role, (values, quantization) in roles.items():
            for dtype, array in (("f32", values), ("i8", quantized(values, *quantization))):
                found[f"nchw_{role}_{dtype}_{i}"] = array.reshape(grid, grid, -1).transpose(2, 0, 1)
                found[f"nhwc_{role}_{dtype}_{i}"] = array
        found[f"nchw_sum_f32_{i}"] = score_sum[cells]
        found[f"nchw_sum_i8_{i}"] = quantized(score_sum[cells], *PROBABILITY)
        found[f"nhwc_ltrb_f32_{i}"] = distances[cells]
        found[f"nhwc_box_i32_{i}"] = np.rint(dfl[cells] / BOX_INT32_SCALE).astype(np.int32)
    return found


def _anchor_heads(case: str, distances: Floats, prob: Floats) -> Arrays:
    """YOLOv5: three anchors per level, after the sigmoid; an object sits on one of the three."""
    rng = np.random.default_rng(11)
    found: Arrays = {}
    for i, (grid, stride) in enumerate(GRIDS):
        cells, count = slice(FIRST[i], FIRST[i + 1]), grid * grid
        pr = prob[cells]
        best = pr.max(1)
        ltrb = distances[cells].astype(np.float64)
        head = np.zeros((3, 5 + CLASSES, grid, grid), np.float32)
        for a in range(3):
            here = (rng.integers(0, 3, count) == a) if case[0] != "S" else np.ones(count, bool)
            hit = (best > 0.25) & here
            obj = np.where(hit, np.minimum(0.98, best**0.5 + 0.1), rng.uniform(0.0005, 0.02, count))
            if case == "M":
                obj = np.where(hit, obj, rng.exponential(0.004, count).clip(0, 0.2))
            scores = np.minimum(0.99, pr / np.maximum(obj[:, None], 1e-6))
            head[a, :4] = _anchor_boxes(ltrb, stride, ANCHORS[i][a]).reshape(4, grid, grid)
            head[a, 4] = obj.reshape(grid, grid)
            values = np.where(hit[:, None], scores, pr)
            head[a, 5:] = values.reshape(grid, grid, CLASSES).transpose(2, 0, 1)
        joined = head.reshape(3 * (5 + CLASSES), grid, grid)
        found[f"v5_f32_{i}"] = joined
        found[f"v5_i8_{i}"] = quantized(joined, *PROBABILITY)
    return found


def _anchor_boxes(
    ltrb: NDArray[np.float64], stride: int, anchor: tuple[int, int]
) -> NDArray[np.float64]:
    x = ((ltrb[:, 2] - ltrb[:, 0]) / 2 + 0.5 + 0.5) / 2
    y = ((ltrb[:, 3] - ltrb[:, 1]) / 2 + 0.5 + 0.5) / 2
    w = np.sqrt((ltrb[:, 0] + ltrb[:, 2]) * stride / anchor[0]) / 2
    h = np.sqrt((ltrb[:, 1] + ltrb[:, 3]) * stride / anchor[1]) / 2
    boxes: NDArray[np.float64] = np.clip(np.stack([x, y, w, h]), 0.01, 0.99)
    return boxes


def _flat(distances: Floats, prob: Floats) -> Floats:
    """What plain Ultralytics exports return: (84, 8400), cx, cy, w, h in pixels, probabilities."""
    sides = [grid for grid, _ in GRIDS]
    x = np.concatenate([np.tile(np.arange(g) + 0.5, g) for g in sides])
    y = np.concatenate([np.repeat(np.arange(g) + 0.5, g) for g in sides])
    stride = np.concatenate([np.full(g * g, s) for g, s in GRIDS])
    x1, y1 = (x - distances[:, 0]) * stride, (y - distances[:, 1]) * stride
    x2, y2 = (x + distances[:, 2]) * stride, (y + distances[:, 3]) * stride
    boxes = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
    return np.concatenate([boxes, prob.T]).astype(np.float32)


def main() -> None:
    """Write the tensors of the cases into a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for case in sys.argv[2:] or CASES:
        for name, array in tensors(case).items():
            array.tofile(folder / f"{case}_{name}")


if __name__ == "__main__":
    main()
