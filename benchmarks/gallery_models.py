"""Good models, and the ways to break them that the fact tables name: files for benchmarks.gallery.

Breaking happens where it happens to people: in the graph (nodes added behind outputs or the input),
in the manifest, in the quantization of an output.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from npud.errors import ModelError
from postprocess.tensor import Quantization, TensorSpec
from runtime import config
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.models import recording
from runtime.prepare.cut import Form
from runtime.prepare.prepare import prepare
from runtime.validate import load_toml

CPU, NPU = Form("rockchip", "cpu"), Form("rockchip", "npu")
SUMS, BPU = Form("rockchip", "npu", score_sum=True), Form("drobotics", "cpu")


@dataclass(frozen=True)
class Case:
    """One broken model (or a good one, cause "healthy"): what npud probe has to say of it.

    `alone` is what can be said without a reference; "untold" where pictures alone show nothing.
    """

    name: str
    model: str
    cause: str
    path: Path
    reference: Path
    alone: str
    picture: str = "bus.jpg"


@dataclass(frozen=True)
class Good:
    """One good model: uncut and in the forms that boards use."""

    name: str
    uncut: Path
    forms: dict[str, Path] = field(default_factory=dict)

    @property
    def logits(self) -> Path:
        """Raw heads, sigmoid left to npud."""
        return self.forms["logits"]

    @property
    def probabilities(self) -> Path:
        """Raw heads, sigmoid in the graph."""
        return self.forms["probabilities"]


def good(uncut: Path, picture: np.ndarray, folder: Path) -> Good:
    """Cut one model into its forms with npud prepare."""
    forms = {"logits": CPU, "probabilities": NPU, "score_sum": SUMS, "nhwc": BPU}
    made = {}
    for name, form in forms.items():
        place = folder / "good" / name
        try:
            done = prepare(uncut, [form], place, Frame(picture), force=True)
        except ModelError:
            if name != "score_sum":  # YOLOv5 has none
                raise
            continue
        made[name] = done.variants[0].path
    return Good(uncut.stem, uncut, made)


class Workshop:
    """Makes broken copies of one good model in a folder."""

    def __init__(self, one: Good, folder: Path) -> None:
        self.good, self.folder = one, folder
        self._count = 0

    def told(self, source: Path, **keys: Any) -> Path:
        """The same file with other keys in its manifest; `input` keys as input_…."""
        path = self._new(source.suffix)
        path.write_bytes(source.read_bytes())
        write_manifest(path, _manifest(source), keys)
        return path

    def behind(self, source: Path, add: Callable[[Nodes, str, list[int]], str], which: str) -> Path:
        """Nodes behind the outputs whose name begins with one of `which`."""
        model = onnx.load(str(source))
        for output in model.graph.output:
            if output.name.startswith(tuple(which.split())):
                shape = [d.dim_value for d in output.type.tensor_type.shape.dim]
                _rename(model.graph, output.name, f"{output.name}_before")
                nodes = Nodes(model.graph, output.name)
                result = add(nodes, f"{output.name}_before", shape)
                nodes.add("Identity", [result], output.name)
        return self._save(model, source)

    def before(self, source: Path, add: Callable[[Nodes, str], str]) -> Path:
        """Nodes between the input and the network."""
        model = onnx.load(str(source))
        name = model.graph.input[0].name
        users = list(model.graph.node)
        nodes = Nodes(model.graph, "fed")
        result = add(nodes, name)
        for node in users:
            for i, source_name in enumerate(node.input):
                if source_name == name:
                    node.input[i] = result
        ordered = [n for n in model.graph.node if n not in users] + users
        del model.graph.node[:]
        model.graph.node.extend(ordered)
        return self._save(model, source)

    def recorded(self, pixels: np.ndarray, scale: float, zero: int) -> Path:
        """The uncut model's output for a picture, as one int8 tensor."""
        one = _open(self.good.uncut)
        seen = one.observe(Frame(pixels))
        specs, frames = [], []
        for spec, output in zip(one.backend.outputs, seen.outputs):
            quantization = Quantization.per_tensor(scale, zero)
            stored = np.rint(output / np.float32(scale)) + zero
            frames.append(stored.clip(-128, 127).astype(np.int8))
            specs.append(TensorSpec(spec.name, spec.shape, np.dtype(np.int8), "", quantization))
        path = self._new(".npz")
        recording.save(path, one.backend.inputs, specs, [frames])
        write_manifest(path, {"labels": list(one.files.labels)}, {})
        one.close()
        return path

    def _save(self, model: Any, source: Path) -> Path:
        path = self._new(".onnx")
        onnx.save(model, str(path))
        write_manifest(path, _manifest(source), {})
        return path

    def _new(self, suffix: str) -> Path:
        self._count += 1
        folder = self.folder / "broken"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.good.name}-{self._count}{suffix}"


class Nodes:
    """Adds nodes to a graph."""

    def __init__(self, graph: Any, prefix: str) -> None:
        self._graph, self._prefix, self._count = graph, prefix, 0

    def constant(self, array: Any) -> str:
        """Add a constant; returns its name."""
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node; returns its output's name."""
        output = output or self._name()
        self._graph.node.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def _name(self) -> str:
        self._count += 1
        return f"{self._prefix}_gallery_{self._count}"


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new


def _manifest(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".toml")
    read: dict[str, Any] = load_toml(beside) if beside.is_file() else {}
    read.pop("golden", None)
    read.pop("digest", None)
    return read


def write_manifest(path: Path, base: dict[str, Any], keys: dict[str, Any]) -> None:
    """Write the manifest beside a model: base with other keys, None to leave one out."""
    plain = {k: v for k, v in base.items() if not isinstance(v, dict)}
    fed = dict(base.get("input", {}))
    for key, value in keys.items():
        table, name = (fed, key[6:]) if key.startswith("input_") else (plain, key)
        table[name] = value
    lines = [f"{k} = {json.dumps(v)}" for k, v in plain.items() if v is not None]
    lines += ["[input]", *(f"{k} = {json.dumps(v)}" for k, v in fed.items() if v is not None)]
    path.with_suffix(".toml").write_text("\n".join(lines) + "\n")


def _open(path: Path) -> Detector:
    settings = config.Model(path=str(path))
    return Detector(read_model(settings), settings, config.Backend(threads=1))


# What the nodes do.


def sigmoid(nodes: Nodes, name: str, shape: list[int]) -> str:
    """Another sigmoid."""
    return nodes.add("Sigmoid", [name])


def times(factor: float) -> Callable[[Nodes, str, list[int]], str]:
    """Everything times a number."""
    return lambda nodes, name, shape: nodes.add("Mul", [name, nodes.constant(np.float32(factor))])


def classes(scale: float, shift: float, per_anchor: int) -> Callable[[Nodes, str, list[int]], str]:
    """Class channels times scale plus shift; of joined tensors those from 5 on in each anchor."""

    def add(nodes: Nodes, name: str, shape: list[int]) -> str:
        factor, offset = np.full(shape[1], scale), np.full(shape[1], shift)
        if per_anchor:
            kept = np.arange(shape[1]) % per_anchor < 5
            factor[kept], offset[kept] = 1.0, 0.0
        channels = [array.astype(np.float32)[None, :, None, None] for array in (factor, offset)]
        scaled = nodes.add("Mul", [name, nodes.constant(channels[0])])
        return nodes.add("Add", [scaled, nodes.constant(channels[1])])

    return add


def laid_out_as_nhwc(nodes: Nodes, name: str, shape: list[int]) -> str:
    """The bytes of [1,H,W,C] in the shape [1,C,H,W]."""
    turned = nodes.add("Transpose", [name], perm=[0, 2, 3, 1])
    return nodes.add("Reshape", [turned, nodes.constant(np.array(shape, np.int64))])


def sides(order: Sequence[int], per_anchor: int) -> Callable[[Nodes, str, list[int]], str]:
    """Box channels in another order of the four sides."""

    def add(nodes: Nodes, name: str, shape: list[int]) -> str:
        channels = np.arange(shape[1])
        for first in range(0, shape[1], per_anchor or shape[1]):
            count = 4 if per_anchor else shape[1]
            part = channels[first : first + count].reshape(4, -1)
            channels[first : first + count] = part[list(order)].reshape(-1)
        return nodes.add("Gather", [name, nodes.constant(channels.astype(np.int64))], axis=1)

    return add


def one_scale(scale: float) -> Callable[[Nodes, str, list[int]], str]:
    """To int8 and back, as a quantized graph does it."""

    def add(nodes: Nodes, name: str, shape: list[int]) -> str:
        grid = [nodes.constant(np.float32(scale)), nodes.constant(np.int8(-128))]
        stored = nodes.add("QuantizeLinear", [name, *grid])
        return nodes.add("DequantizeLinear", [stored, *grid])

    return add


def divided(nodes: Nodes, name: str) -> str:
    """Division by 255."""
    return nodes.add("Div", [name, nodes.constant(np.float32(255))])


def reshaped(shape: Sequence[int]) -> Callable[[Nodes, str], str]:
    """The bytes of an NCHW input taken for NHWC, and transposed."""

    def add(nodes: Nodes, name: str) -> str:
        _, channels, height, width = shape
        as_nhwc = nodes.constant(np.array([1, height, width, channels], np.int64))
        return nodes.add("Transpose", [nodes.add("Reshape", [name, as_nhwc])], perm=[0, 3, 1, 2])

    return add


def cases(one: Good, folder: Path, pixels: np.ndarray) -> Iterator[Case]:
    """All broken forms of one model."""
    shop = Workshop(one, folder)
    graph = onnx.load(str(one.logits)).graph
    shape = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    joined = _manifest(one.logits).get("head") == "anchor"
    per = 5 + len(_open(one.logits).files.labels) if joined else 0
    cls, every = ("raw", "raw") if joined else ("cls", "cls box")
    std = _manifest(one.logits).get("input", {}).get("std", [255.0] * 3)
    assert std == [255.0] * 3

    def case(
        name: str, cause: str, path: Path, alone: str = "", reference: Path = one.uncut
    ) -> Case:
        return Case(name, one.name, cause, path, reference, alone or cause)

    yield case(
        "probabilities read as logits",
        "double_sigmoid",
        shop.told(one.probabilities, activation="logits"),
    )
    yield case(
        "two sigmoids in the graph", "double_sigmoid", shop.behind(one.probabilities, sigmoid, cls)
    )
    yield case(
        "logits read as probabilities",
        "missing_sigmoid",
        shop.told(one.logits, activation="probabilities"),
    )
    yield case(
        "class logits 6 too low",
        "shifted_logits",
        shop.behind(one.logits, classes(1, -6, per), cls),
        "collapsed_logits",
    )
    yield case(
        "class logits squeezed (x/4 - 4)",
        "collapsed_logits",
        shop.behind(one.logits, classes(0.25, -4, per), cls),
    )
    yield case(
        "class logits times 6", "saturated_scores", shop.behind(one.logits, classes(6, 0, per), cls)
    )
    yield case(
        "class probabilities times 0.7",
        "low_scores",
        shop.behind(one.probabilities, classes(0.7, 0, per), cls),
        "untold",
    )
    yield case(
        "red and blue exchanged",
        "swapped_channels",
        shop.told(one.logits, input_color="bgr"),
        "untold",
    )
    yield case(
        "stretched, not letterboxed",
        "wrong_letterbox",
        shop.told(one.logits, input_letterbox="stretch"),
        "untold",
    )
    yield case(
        "letterboxed at the top left",
        "wrong_letterbox",
        shop.told(one.logits, input_letterbox="topleft"),
        "untold",
    )
    yield case("divided by 255 twice", "scaled_twice", shop.before(one.logits, divided))
    yield case("not divided by 255", "not_scaled", shop.told(one.logits, input_std=[1.0, 1.0, 1.0]))
    yield case(
        "ImageNet's mean and std",
        "wrong_mean_std",
        shop.told(
            one.logits, input_mean=[123.675, 116.28, 103.53], input_std=[58.395, 57.12, 57.375]
        ),
    )
    yield case(
        "outputs NHWC in NCHW shapes",
        "wrong_layout",
        shop.behind(one.logits, laid_out_as_nhwc, every),
    )
    yield case(
        "input reshaped, not transposed", "wrong_layout", shop.before(one.logits, reshaped(shape))
    )
    yield case(
        "y before x in boxes",
        "wrong_boxes",
        shop.behind(one.logits, sides((1, 0, 3, 2), per), "raw" if joined else "box"),
    )
    yield case("zero outputs", "zero_outputs", shop.behind(one.logits, times(0), every))
    yield case(
        "NaN in an output",
        "nan_outputs",
        shop.behind(one.logits, times(float("nan")), "raw_32" if joined else "cls_32"),
    )
    yield from _by_head(one, shop, case, pixels, joined)


def _by_head(
    one: Good, shop: Workshop, case: Callable[..., Case], pixels: np.ndarray, joined: bool
) -> Iterator[Case]:
    """What only some heads can suffer."""
    if joined:
        anchors = _manifest(one.logits)["anchors"]
        yield case(
            "anchors of the strides in reverse",
            "wrong_anchors",
            shop.told(one.logits, anchors=anchors[::-1]),
        )
        turned = [[[h, w] for w, h in level] for level in anchors]
        yield case(
            "width and height of anchors exchanged",
            "wrong_anchors",
            shop.told(one.logits, anchors=turned),
        )
    if _manifest(one.logits).get("head") == "ltrb" and "score_sum" in one.forms:
        path = shop.told(one.forms["score_sum"], head="yolox", order=None, multi_label=None)
        yield case("score sum read as objectness", "wrong_head", path)
    graph = onnx.load(str(one.uncut)).graph
    if len(graph.output) == 1:
        yield case(
            "one int8 output for boxes and scores",
            "concatenated_int8",
            shop.recorded(pixels, 640 / 255, -128),
        )
        name = graph.output[0].name
        yield case(
            "the same, dequantized in the graph",
            "concatenated_int8",
            shop.behind(one.uncut, one_scale(640 / 255), name),
        )
