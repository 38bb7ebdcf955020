"""Write the head variants that boards use: where the sigmoid runs, and in which layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from npud.errors import ModelError
from postprocess.plan import Activation
from runtime.prepare.graph import Graph, copy_of, onnx
from runtime.prepare.head import Head, Part
from runtime.prepare.walk import TO_NHWC

Board = Literal["rockchip", "drobotics"]
Sigmoid = Literal["cpu", "npu"]
ROLES: dict[Board, tuple[str, ...]] = {
    "rockchip": ("box", "obj", "cls", "all"),  # NCHW, rknn_model_zoo's order
    "drobotics": ("cls", "box", "obj", "all"),  # NHWC, rdk_model_zoo's order
}
ACTIVATION: dict[Sigmoid, Activation] = {"cpu": "logits", "npu": "probabilities"}
CLIP_HAS_INPUTS, SUM_HAS_INPUTS = 11, 13  # operator sets from which bounds and axes are inputs


@dataclass(frozen=True)
class Form:
    """One way to write the outputs: order and layout, sigmoid, and the sum of class scores."""

    board: Board
    sigmoid: Sigmoid
    score_sum: bool = False


def cut(graph: Graph, head: Head, form: Form) -> Any:
    """The model that ends in the raw tensors of `head`, as `form` says."""
    writer = _Writer(graph, head, form)
    for stride in head.strides:
        parts = sorted(head.of(stride), key=lambda part: ROLES[form.board].index(part.role))
        for part in parts:
            writer.add(part)
        for part in parts:
            if part.role == "cls" and form.score_sum and form.sigmoid == "npu":
                writer.add_sum(part)
    made = graph.part(writer.nodes, graph.inputs, writer.outputs)
    made.graph.initializer.extend(writer.constants)
    onnx.checker.check_model(made)
    return made


def output_name(part: Part) -> str:
    """`box_8`, `cls_8`, `obj_8`, or `raw_8` for all in one."""
    return f"{'raw' if part.role == 'all' else part.role}_{part.raw.stride}"


class _Writer:
    """Adds nodes and outputs below the raw tensors."""

    def __init__(self, graph: Graph, head: Head, form: Form) -> None:
        self._form = form
        self._opset = max(
            o.version for o in graph.model.opset_import if o.domain in ("", "ai.onnx")
        )
        self.outputs: list[Any] = []
        self.constants: list[Any] = []
        self._logits = {
            part.raw.name: output_name(part) + ("_logits" if self._ops(part) else "")
            for part in head.parts
        }
        self.nodes = [copy_of(n) for n in graph.nodes_to(part.raw.name for part in head.parts)]
        _rename(self.nodes, self._logits)

    def _ops(self, part: Part) -> list[str]:
        ops = ["Sigmoid"] if self._form.sigmoid == "npu" and part.role != "box" else []
        return ops + (["Transpose"] if self._form.board == "drobotics" else [])

    def add(self, part: Part) -> None:
        """The output of one raw tensor: with sigmoid and transposition, as the form has them."""
        name, ops = output_name(part), self._ops(part)
        tensor = self._logits[part.raw.name]
        for op in ops:
            result = name if op == ops[-1] else f"{name}_{op.lower()}"
            self._node(op, [tensor], result, **({"perm": TO_NHWC} if op == "Transpose" else {}))
            tensor = result
        self._output(name, part.raw.shape)

    def add_sum(self, part: Part) -> None:
        """Rockchip's third output: the class scores of a cell, summed and cut off at 1."""
        if self._opset < CLIP_HAS_INPUTS:
            raise ModelError(f"a score sum needs opset {CLIP_HAS_INPUTS}, got {self._opset}")
        name, scores = f"score_sum_{part.raw.stride}", output_name(part)
        axes = [self._constant(f"{name}_axes", np.array([1], np.int64))]
        if self._opset >= SUM_HAS_INPUTS:
            self._node("ReduceSum", [scores, *axes], f"{name}_raw", keepdims=1)
        else:
            self._node("ReduceSum", [scores], f"{name}_raw", keepdims=1, axes=[1])
        low = self._constant(f"{name}_low", np.array(0, np.float32))
        high = self._constant(f"{name}_high", np.array(1, np.float32))
        self._node("Clip", [f"{name}_raw", low, high], name)
        self._output(name, (1, 1, *part.raw.shape[2:]))

    def _node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self.nodes.append(onnx.helper.make_node(op, inputs, [output], name=output, **attributes))

    def _constant(self, name: str, value: Any) -> str:
        self.constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def _output(self, name: str, shape: Sequence[int]) -> None:
        if self._form.board == "drobotics":
            shape = [shape[axis] for axis in TO_NHWC]
        kind = onnx.TensorProto.FLOAT
        self.outputs.append(onnx.helper.make_tensor_value_info(name, kind, list(shape)))


def _rename(nodes: Sequence[Any], names: dict[str, str]) -> None:
    """Give tensors new names; others that have a name of the outputs get "inner_" before theirs."""
    ours = {name.removesuffix("_logits") for name in names.values()} | set(names.values())
    for node in nodes:
        for slots in (node.input, node.output):
            for k, name in enumerate(slots):
                if name in names:
                    slots[k] = names[name]
                elif name in ours or name.startswith("score_sum_"):
                    slots[k] = f"inner_{name}"
