"""Small detectors with random weights, in the forms that exporters give: names tell nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, STRIDES, CLASSES, BINS = 64, (8, 16, 32), 3, 16
ANCHORS = (
    ((7.0, 9.0), (12.0, 21.0), (13.5, 8.0)),
    ((25.0, 17.0), (31.0, 40.0), (22.0, 44.0)),
    ((50.0, 33.0), (60.0, 61.0), (40.0, 48.0)),
)


class Net:
    """A graph under construction; every tensor is called t<number>."""

    def __init__(self, seed: int = 3) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.random = np.random.default_rng(seed)
        self.heads: dict[str, str] = {}  # "box_8" -> the tensor that the head is
        self._count = 0

    def name(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def const(self, value: Any, kind: Any = np.float32) -> str:
        name = self.name()
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def conv(
        self, source: str, inputs: int, channels: int, stride: int, gain: float, bias: float = 0
    ) -> str:
        weight = self.random.normal(0, gain, (channels, inputs, stride, stride))
        bias = self.random.normal(bias, 0.5, channels)
        return str(
            self.op("Conv", source, self.const(weight), self.const(bias), strides=[stride] * 2)
        )

    def features(self) -> dict[int, str]:
        found, source, inputs = {}, "images", 3
        for stride, step in ((8, 8), (16, 2), (32, 2)):
            raw = self.conv(source, inputs, 8, step, 0.3)
            source = self.op("Mul", raw, self.op("Sigmoid", raw))  # SiLU, as real networks
            found[stride], inputs = source, 8
        return found

    def head(self, role: str, stride: int, source: str, channels: int, bias: float = 0) -> str:
        name = self.conv(source, 8, channels, 1, 0.5, bias)
        self.heads[f"{role}_{stride}"] = name
        return name

    def save(
        self,
        path: Path,
        output: str,
        shape: list[int],
        more: dict[str, list[int]] | None = None,
        sides: tuple[int | str, int | str] = (SIZE, SIZE),
    ) -> Path:
        picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *sides])
        out = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
            for name, dims in ({output: shape} | (more or {})).items()
        ]
        model = helper.make_model(
            helper.make_graph(self.nodes, "g", [picture], out, self.constants),
            opset_imports=[helper.make_opsetid("", 13)],
            ir_version=8,
        )
        names = {"names": "{0: 'cat', 1: 'dog', 2: 'bird'}", "imgsz": f"[{SIZE}, {SIZE}]"}
        helper.set_model_props(model, names)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def cells() -> int:
    return sum((SIZE // s) ** 2 for s in STRIDES)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Cell centres (1, 2, N) and strides (1, N)."""
    points, strides = [], []
    for s in STRIDES:
        y, x = np.mgrid[: SIZE // s, : SIZE // s] + 0.5
        points.append(np.stack([x.ravel(), y.ravel()]))
        strides.append(np.full(x.size, s))
    return np.concatenate(points, 1)[None], np.concatenate(strides)[None]


def dfl(
    path: Path, widen: float = 1.0, last: str = "Sigmoid", apart: bool = False, **save: Any
) -> tuple[Path, Net]:
    """YOLOv8's export: box and classes joined per stride, all strides joined, split, DFL.

    `widen` scales the boxes as no known head does; `last` is what gives the scores; `apart`: corners
    and scores as two outputs, as YOLO-NAS has them.
    """
    net = Net()
    rows = []
    for stride, source in net.features().items():
        pair = [net.head("box", stride, source, 4 * BINS), net.head("cls", stride, source, CLASSES)]
        joined = net.op("Concat", *pair, axis=1)
        rows.append(net.op("Reshape", joined, net.ints(1, 4 * BINS + CLASSES, -1)))
    joined = net.op("Concat", *rows, axis=2)
    box, classes = net.op("Split", joined, net.ints(4 * BINS, CLASSES), outputs=2, axis=1)
    bins = net.op("Reshape", box, net.ints(1, 4, BINS, cells()))
    bins = net.op("Softmax", net.op("Transpose", bins, perm=[0, 2, 1, 3]), axis=1)
    sides = net.op("Conv", bins, net.const(np.arange(BINS).reshape(1, BINS, 1, 1)))
    ltrb = net.op("Reshape", sides, net.ints(1, 4, cells()))
    boxes = _from_ltrb(net, ltrb, widen)
    if apart:
        boxes = net.op("Transpose", boxes, perm=[0, 2, 1])
        scores = net.op("Transpose", net.op(last, classes), perm=[0, 2, 1])
        shapes = [1, cells(), 4], {scores: [1, cells(), CLASSES]}
        return net.save(path, boxes, *shapes), net
    low, high = net.op("Split", boxes, net.ints(2, 2), outputs=2, axis=1)
    centre = net.op("Div", net.op("Add", low, high), net.const(2))
    boxes = net.op("Concat", centre, net.op("Sub", high, low), axis=1)
    scores = net.op(last, classes, **({"axis": 1} if last == "Softmax" else {}))
    out = net.op("Concat", boxes, scores, axis=1)
    return net.save(path, out, [1, 4 + CLASSES, cells()], **save), net


def _from_ltrb(net: Net, ltrb: str, widen: float = 1.0) -> str:
    low, high = net.op("Split", ltrb, net.ints(2, 2), outputs=2, axis=1)
    points, strides = grid()
    centre = net.const(points)
    low = net.op("Sub", centre, low)
    high = net.op("Add", centre, net.op("Mul", high, net.const(widen)))
    return str(net.op("Mul", net.op("Concat", low, high, axis=1), net.const(strides)))


def end2end(path: Path, rows: int = 30) -> tuple[Path, Net]:
    """YOLO26's export: distances without DFL, top-k of the cells, then of cells and classes."""
    net = Net()
    boxes, classes = [], []
    for stride, source in net.features().items():
        raw = net.head("box", stride, source, 4, 3)
        boxes.append(net.op("Reshape", raw, net.ints(1, 4, -1)))
        raw = net.head("cls", stride, source, CLASSES)
        classes.append(net.op("Reshape", raw, net.ints(1, CLASSES, -1)))
    xyxy = _from_ltrb(net, net.op("Concat", *boxes, axis=2))
    scores = net.op("Sigmoid", net.op("Concat", *classes, axis=2))
    both = net.op("Transpose", net.op("Concat", xyxy, scores, axis=1), perm=[0, 2, 1])
    xyxy, scores = net.op("Split", both, net.ints(4, CLASSES), outputs=2, axis=2)
    best = net.op("ReduceMax", scores, axes=[-1], keepdims=0)
    _, cell = net.op("TopK", best, net.ints(rows), outputs=2, axis=1)
    cell = net.op("Unsqueeze", cell, net.ints(2))
    wide = net.op("Expand", cell, net.ints(1, rows, CLASSES))
    flat = net.op("Flatten", net.op("GatherElements", scores, wide, axis=1), axis=1)
    score, place = net.op("TopK", flat, net.ints(rows), outputs=2, axis=1)
    label = net.op("Mod", place, net.const(CLASSES, np.int64))
    row = net.op("Unsqueeze", net.op("Div", place, net.const(CLASSES, np.int64)), net.ints(2))
    chosen = net.op("GatherElements", cell, row, axis=1)
    chosen = net.op("Expand", chosen, net.ints(1, rows, 4))
    xyxy = net.op("GatherElements", xyxy, chosen, axis=1)
    label = net.op("Cast", net.op("Unsqueeze", label, net.ints(2)), to=TensorProto.FLOAT)
    out = net.op("Concat", xyxy, net.op("Unsqueeze", score, net.ints(2)), label, axis=2)
    return net.save(path, out, [1, rows, 6]), net


def anchors(path: Path) -> tuple[Path, Net]:
    """YOLOv5's export, with anchors of its own."""
    net, rows = Net(), []
    for (stride, source), sizes in zip(net.features().items(), ANCHORS):
        side, count = SIZE // stride, len(sizes)
        raw = net.head("raw", stride, source, count * (5 + CLASSES))
        shape = net.ints(1, count, 5 + CLASSES, side, side)
        cell = net.op("Transpose", net.op("Reshape", raw, shape), perm=[0, 1, 3, 4, 2])
        parts = net.ints(2, 2, 1 + CLASSES)
        xy, wh, rest = net.op("Split", net.op("Sigmoid", cell), parts, outputs=3, axis=4)
        y, x = np.mgrid[:side, :side]
        corner = net.const(np.stack([x, y], -1)[None, None] - 0.5)
        xy = net.op(
            "Mul", net.op("Add", net.op("Mul", xy, net.const(2)), corner), net.const(stride)
        )
        wh = net.op("Pow", net.op("Mul", wh, net.const(2)), net.const(2))
        wh = net.op("Mul", wh, net.const(np.reshape(sizes, (1, count, 1, 1, 2))))
        joined = net.op("Concat", xy, wh, rest, axis=4)
        rows.append(net.op("Reshape", joined, net.ints(1, count * side * side, 5 + CLASSES)))
    out = net.op("Concat", *rows, axis=1)
    return net.save(path, out, [1, 3 * cells(), 5 + CLASSES]), net


def yolox(path: Path) -> tuple[Path, Net]:
    """YOLOX with its decoding in the graph: box, objectness and classes joined per stride."""
    net, rows = Net(), []
    for stride, source in net.features().items():
        parts = [
            net.head("box", stride, source, 4),
            net.op("Sigmoid", net.head("obj", stride, source, 1)),
            net.op("Sigmoid", net.head("cls", stride, source, CLASSES)),
        ]
        rows.append(
            net.op("Reshape", net.op("Concat", *parts, axis=1), net.ints(1, 5 + CLASSES, -1))
        )
    joined = net.op("Concat", *rows, axis=2)
    split = net.ints(2, 2, 1 + CLASSES)
    xy, wh, scores = net.op("Split", joined, split, outputs=3, axis=1)
    points, strides = grid()
    xy = net.op("Mul", net.op("Add", xy, net.const(points - 0.5)), net.const(strides))
    wh = net.op("Mul", net.op("Exp", wh), net.const(strides))
    out = net.op("Transpose", net.op("Concat", xy, wh, scores, axis=1), perm=[0, 2, 1])
    return net.save(path, out, [1, cells(), 5 + CLASSES]), net


def with_nms(path: Path, rows: int = 20) -> Path:
    """An export that suppresses in its graph, its result filled up to [1, rows, 6]."""
    source, net = dfl(path, apart=True)
    model = onnx.load(source)
    boxes, scores = (value.name for value in model.graph.output)
    net.nodes, net.constants = list(model.graph.node), list(model.graph.initializer)
    classes = net.op("Transpose", scores, perm=[0, 2, 1])
    limits = (net.const([rows], np.int64), net.const([0.45]), net.const([0.25]))
    chosen = net.op("NonMaxSuppression", boxes, classes, *limits)
    _, label, cell = net.op("Split", chosen, net.ints(1, 1, 1), outputs=3, axis=1)
    box = net.op("GatherND", net.op("Squeeze", boxes, net.ints(0)), cell)
    score = net.op("Unsqueeze", net.op("GatherND", classes, chosen), net.ints(1))
    found = net.op("Concat", box, score, net.op("Cast", label, to=TensorProto.FLOAT), axis=1)
    filled = net.op("Concat", found, net.const(np.zeros((rows, 6))), axis=0)
    first = net.op("Slice", filled, net.ints(0), net.ints(rows), net.ints(0))
    return net.save(path, net.op("Unsqueeze", first, net.ints(0)), [1, rows, 6])
