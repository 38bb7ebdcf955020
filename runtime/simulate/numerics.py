"""Rounding written into an ONNX graph: float16 between operations, sigmoids from a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import ModelError
from runtime.models.onnx import MOVES
from runtime.prepare.graph import Graph, onnx
from runtime.simulate.options import Simulate

BELOW_SIGMOID = MOVES | {"ReduceSum", "Clip"}  # of a score sum


def emulated(path: Path, simulate: Simulate) -> bytes:
    """The model at `path` with the numerics of `simulate`; raises ModelError."""
    graph = Graph(path)
    if simulate.sigmoid != "exact":
        _replace_sigmoids(graph, simulate)
    if simulate.activations == "float16":
        _round_everything(graph.model)
    data: bytes = graph.model.SerializeToString()
    return data


def table(entries: int, low: float, high: float) -> NDArray[np.float32]:
    """σ at `entries` logits from low to high."""
    logits = np.linspace(low, high, entries)
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def _replace_sigmoids(graph: Graph, simulate: Simulate) -> None:
    last = _last_sigmoids(graph)
    if not last:
        raise ModelError(
            f"model {graph.path}: backend.simulate.sigmoid: expected sigmoids at the end of its "
            "graph, found none; npud prepare writes such a model, NAME.npu-sigmoid.onnx"
        )
    nodes = []
    for node in graph.model.graph.node:
        if node.output[0] not in last:
            nodes.append(node)
        elif simulate.sigmoid == "table":
            nodes += _table_nodes(graph, node, simulate)
        else:
            nodes += _half_nodes(graph, node)
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(nodes)


def _last_sigmoids(graph: Graph) -> set[str]:
    """Outputs of the sigmoids from which the outputs come, looking through what moves values."""
    found, seen, left = set(), set(), [value.name for value in graph.outputs]
    while left:
        name = left.pop()
        node = graph.made_by.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "Sigmoid":
            found.add(name)
        elif node.op_type in BELOW_SIGMOID:
            left += node.input if node.op_type == "Concat" else node.input[:1]
    return found


def _table_nodes(graph: Graph, node: Any, simulate: Simulate) -> list[Any]:
    """Table[round((clip(x) - low) / step)]."""
    low, high = simulate.sigmoid_range
    step = (high - low) / (simulate.sigmoid_table - 1)
    chain = _Chain(graph, node.input[0], node.output[0])
    chain.add("Max", np.float32(low))
    chain.add("Min", np.float32(high))
    chain.add("Sub", np.float32(low))
    chain.add("Mul", np.float32(1 / step))
    chain.add("Round")
    chain.add("Cast", to=onnx.TensorProto.INT32)
    entries = chain.constant(table(simulate.sigmoid_table, low, high))
    chain.nodes.append(
        onnx.helper.make_node("Gather", [entries, chain.tensor], [node.output[0]], axis=0)
    )
    return chain.nodes


def _half_nodes(graph: Graph, node: Any) -> list[Any]:
    """1 / (1 + exp(-x)), every step rounded to float16: exp overflows beyond 11.09."""
    chain = _Chain(graph, node.input[0], node.output[0])
    for op, constant in (
        ("", None),
        ("Neg", None),
        ("Exp", None),
        ("Add", 1),
        ("Reciprocal", None),
    ):
        if op:
            chain.add(op, *([] if constant is None else [np.float32(constant)]))
        chain.add("Cast", to=onnx.TensorProto.FLOAT16)
        chain.add("Cast", to=onnx.TensorProto.FLOAT)
    chain.nodes[-1].output[0] = node.output[0]
    return chain.nodes


class _Chain:
    """Operations one below the other, on one tensor."""

    def __init__(self, graph: Graph, tensor: str, name: str) -> None:
        self.nodes: list[Any] = []
        self.tensor = tensor
        self._initializers, self._name = graph.model.graph.initializer, name

    def add(self, op: str, *constants: Any, **attributes: Any) -> None:
        result = f"{self._name}/simulated_{len(self.nodes)}"
        inputs = [self.tensor, *map(self.constant, constants)]
        self.nodes.append(onnx.helper.make_node(op, inputs, [result], **attributes))
        self.tensor = result

    def constant(self, value: Any) -> str:
        name = f"{self._name}/constant_{len(self.nodes)}"
        self._initializers.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name


def _round_everything(model: Any) -> None:
    """Round weights, pictures and the floats that any operation gives to float16.

    What lies inside one operation stays float32: the sums of a convolution, as on an NPU with wide
    accumulators.  onnxruntime keeps these casts (tests/simulate shows it).
    """
    floats = _floats(model)
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            _round(tensor)
    nodes = []
    renamed: dict[str, str] = {}
    fed = {value.name for value in graph.input} & floats
    for name in sorted(fed):
        nodes += _casts(name, f"{name}/half", renamed)
    for node in graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = renamed.get(name, name)
        nodes.append(node)
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.t.data_type == onnx.TensorProto.FLOAT:
                    _round(attribute.t)
            continue
        for k, name in enumerate(node.output):
            if name in floats:
                node.output[k] = f"{name}/float"
                nodes += _casts(node.output[k], name, {})
    del graph.node[:]
    graph.node.extend(nodes)


def _casts(source: str, result: str, renamed: dict[str, str]) -> list[Any]:
    half = f"{result}/f16"
    renamed[source] = result
    return [
        onnx.helper.make_node("Cast", [source], [half], to=onnx.TensorProto.FLOAT16),
        onnx.helper.make_node("Cast", [half], [result], to=onnx.TensorProto.FLOAT),
    ]


def _round(tensor: Any) -> None:
    values = onnx.numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):  # beyond 65504 it is infinite, as on the NPU
        rounded = values.astype(np.float16).astype(np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))


def _floats(model: Any) -> set[str]:
    """Names of the tensors of float32."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception as error:  # the inference's exceptions have no common base
        raise ModelError(f"types of its tensors are not known: {error}") from None
    values: Iterable[Sequence[Any]] = (graph.value_info, graph.output, graph.input)
    return {
        value.name
        for some in values
        for value in some
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
