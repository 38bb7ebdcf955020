"""What npud is measured against: what people use today, as its authors publish it.

A decoder takes a frame's tensors and returns boxes, scores and class ids; an NMS returns the
indices of the boxes kept.  Whatever can be prepared beforehand is not timed, also where a real
program would have to do it for each frame: the doubt goes to the competitor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import heads
from benchmarks.paths import IOU_THRESHOLD, Path

Found = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
DecodeFrame = Callable[[Sequence[NDArray[Any]]], Found]
Prepared = Callable[[], Any]


def recipe(path: Path, case: str) -> DecodeFrame:
    """The published NumPy recipe: dequantize, σ over all, argmax, filter, softmax, cv2's NMS."""
    threshold = heads.threshold_of(case)
    quantization = [path.quantization(name) for name in path.names()]
    read = {"flat": _read_flat, "anchor": _read_anchor}.get(path.head, _read_grid)
    centres = [_centres(grid) for grid, _ in heads.GRIDS]

    def decode(tensors: Sequence[NDArray[Any]]) -> Found:
        floats = [_dequantize(t, q, path) for t, q in zip(tensors, quantization)]
        boxes, scores, class_ids = read(path, floats, threshold, centres)
        kept = nms_boxes_per_class(boxes, scores, class_ids, threshold)
        return boxes[kept], scores[kept], class_ids[kept]

    return decode


def _dequantize(tensor: NDArray[Any], pair: Any, path: Path) -> NDArray[Any]:
    if pair is None:
        return tensor
    scale, zero_point = pair
    if scale.ndim and path.layout == "nchw":
        scale, zero_point = scale[:, None, None], zero_point[:, None, None]
    return (tensor.astype(np.float32) - zero_point.astype(np.float32)) * scale


def _centres(grid: int) -> NDArray[np.float32]:
    rows, columns = np.divmod(np.arange(grid * grid), grid)
    return np.stack([columns, rows], 1).astype(np.float32) + np.float32(0.5)


def _rows(tensor: NDArray[Any], path: Path) -> NDArray[Any]:
    """(cells, channels)."""
    if path.layout == "nhwc":
        return tensor.reshape(-1, tensor.shape[-1])
    return tensor.reshape(tensor.shape[1], -1).T


def _read_grid(
    path: Path, floats: list[NDArray[Any]], threshold: float, centres: list[NDArray[Any]]
) -> Found:
    found = []
    step, first_is_box = len(path.roles), "logit" not in path.roles[0]
    for level, (_, stride) in enumerate(heads.GRIDS):
        box, cls = floats[level * step : level * step + 2][:: 1 if first_is_box else -1]
        scores = _rows(cls, path)
        if path.logits:
            scores = 1 / (1 + np.exp(-scores))
        class_ids = scores.argmax(1)
        best = scores[np.arange(len(scores)), class_ids]
        passing = best >= threshold
        distances = _rows(box, path)[passing]
        if path.head == "dfl":
            e = np.exp(distances.reshape(-1, 4, heads.BINS))
            weights = e / e.sum(2, keepdims=True)
            distances = (weights * np.arange(heads.BINS, dtype=np.float32)).sum(2)
        middle = centres[level][passing]
        boxes = np.hstack([middle - distances[:, :2], middle + distances[:, 2:]]) * stride
        found.append((boxes, best[passing], class_ids[passing]))
    boxes, scores, class_ids = (np.concatenate(part) for part in zip(*found))
    return boxes, scores, class_ids


def _read_anchor(
    _: Path, floats: list[NDArray[Any]], threshold: float, centres: list[NDArray[Any]]
) -> Found:
    found = []
    for tensor, middle, anchors, (grid, stride) in zip(floats, centres, heads.ANCHORS, heads.GRIDS):
        rows = tensor.reshape(3, 5 + heads.CLASSES, grid * grid).transpose(0, 2, 1)
        scores = rows[..., 5:] * rows[..., 4:5]
        best = scores.max(2)
        anchor, cell = np.nonzero(best >= threshold)
        picked = rows[anchor, cell]
        xy = (picked[:, :2] * 2 - 0.5 + middle[cell] - 0.5) * stride
        half = (picked[:, 2:4] * 2) ** 2 * np.array(anchors, np.float32)[anchor] / 2
        boxes = np.hstack([xy - half, xy + half])
        found.append((boxes, best[anchor, cell], scores[anchor, cell].argmax(1)))
    boxes, scores, class_ids = (np.concatenate(part) for part in zip(*found))
    return boxes, scores, class_ids


def _read_flat(
    _: Path, floats: list[NDArray[Any]], threshold: float, __: list[NDArray[Any]]
) -> Found:
    rows = floats[0][0].T
    class_ids = rows[:, 4:].argmax(1)
    best = rows[:, 4:].max(1)
    passing = best >= threshold
    box = rows[passing, :4]
    boxes = np.hstack([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2])
    return boxes, best[passing], class_ids[passing]


def _xywh(boxes: NDArray[Any]) -> NDArray[Any]:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def nms_boxes_per_class(
    boxes: NDArray[Any], scores: NDArray[Any], class_ids: NDArray[Any], threshold: float = 0.0
) -> NDArray[Any]:
    """cv2.dnn.NMSBoxes, called for each class that occurs."""
    kept = []
    sized = _xywh(boxes)
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        picked = cv2.dnn.NMSBoxes(sized[members], scores[members], threshold, IOU_THRESHOLD)
        kept.append(members[np.asarray(picked, np.int64).reshape(-1)])
    return np.concatenate(kept) if kept else np.zeros(0, np.int64)


def nms_boxes_batched(
    boxes: NDArray[Any], scores: NDArray[Any], class_ids: NDArray[Any]
) -> NDArray[Any]:
    """cv2.dnn.NMSBoxesBatched."""
    found = cv2.dnn.NMSBoxesBatched(_xywh(boxes), scores, class_ids, 0.0, IOU_THRESHOLD)
    return np.asarray(found, np.int64).reshape(-1)


def onnxruntime_nms(
    boxes: NDArray[Any], scores: NDArray[Any], class_ids: NDArray[Any]
) -> Prepared | None:
    """Onnxruntime's NonMaxSuppression; its scores, as (classes, boxes), are not timed."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return None
    make, kinds = onnx.helper, onnx.TensorProto
    inputs = [
        make.make_tensor_value_info("boxes", kinds.FLOAT, [1, None, 4]),
        make.make_tensor_value_info("scores", kinds.FLOAT, [1, None, None]),
    ]
    constants = {"limit": [heads.CELLS], "iou": [IOU_THRESHOLD], "score": [1e-9]}
    initializers = [
        make.make_tensor(name, kinds.INT64 if name == "limit" else kinds.FLOAT, [1], value)
        for name, value in constants.items()
    ]
    node = make.make_node("NonMaxSuppression", ["boxes", "scores", *constants], ["kept"])
    outputs = [make.make_tensor_value_info("kept", kinds.INT64, [None, 3])]
    graph = make.make_graph([node], "nms", inputs, outputs, initializers)
    opset = [make.make_opsetid("", 11)]
    model = make.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    classes, rows = np.unique(class_ids, return_inverse=True)
    table = np.zeros((1, len(classes), len(scores)), np.float32)
    table[0, rows, np.arange(len(scores))] = scores
    feed = {"boxes": boxes[None], "scores": table}
    return lambda: session.run(None, feed)[0][:, 2]


def powerboxes_nms(
    boxes: NDArray[Any], scores: NDArray[Any], class_ids: NDArray[Any]
) -> Prepared | None:
    """Powerboxes (Rust); classes, of which it knows nothing, are moved apart, not timed."""
    try:
        import powerboxes
    except ImportError:
        return None
    apart = boxes.astype(np.float64) + (class_ids * 4096.0)[:, None]
    doubles = scores.astype(np.float64)
    return lambda: powerboxes.nms(apart, doubles, IOU_THRESHOLD, 0.0)
