"""Graph: an ONNX model that can be walked backwards, cut out of, and run in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import BackendUnavailable, ModelError

try:
    import onnx as onnx  # exported: who imports it from here has met the error below

    from runtime.ort import ort
except ImportError as error:
    raise BackendUnavailable(
        f"expected the packages onnx and onnxruntime, got: {error}; "
        "remedy: pip install 'npud[workbench]'"
    ) from None

Shape = tuple[int, ...]
SILENT = 4  # onnxruntime's severity FATAL: what goes wrong comes as an exception


class Graph:
    """A loaded model, indexed by the tensors that its nodes make."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.model = onnx.load(str(path))
            onnx.checker.check_model(self.model)
        except Exception as error:  # protobuf's and the checker's have no common base
            raise ModelError(f"model {path}: expected a valid ONNX model: {_line(error)}") from None
        graph = self.model.graph
        self.made_by = {name: node for node in graph.node for name in node.output if name}
        self.constants = {tensor.name for tensor in graph.initializer}
        self.inputs = [value for value in graph.input if value.name not in self.constants]
        self.outputs = list(graph.output)

    def nodes_to(self, ends: Iterable[str], stops: Iterable[str] = ()) -> list[Any]:
        """The nodes that `ends` are made by, in graph order, without those above `stops`."""
        wanted, seen, left = set(), set(stops), list(ends)
        while left:
            name = left.pop()
            node = self.made_by.get(name)
            if name in seen or node is None:
                continue
            seen.add(name)
            wanted.add(id(node))
            left += sources(node)
        return [node for node in self.model.graph.node if id(node) in wanted]

    def part(self, nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """A model of these nodes (copied), with the constants that they need."""
        copies = [copy_of(node) for node in nodes]
        used = {name for node in copies for name in sources(node)}
        used |= {value.name for value in outputs}
        graph = onnx.helper.make_graph(
            copies,
            self.model.graph.name or "npud",
            inputs,
            outputs,
            [tensor for tensor in self.model.graph.initializer if tensor.name in used],
        )
        part = onnx.helper.make_model(
            graph,
            opset_imports=self.model.opset_import,
            functions=self.model.functions,
            ir_version=self.model.ir_version,
            producer_name=self.model.producer_name,
            producer_version=self.model.producer_version,
        )
        part.metadata_props.extend(self.model.metadata_props)
        return part

    def shapes(self, names: Sequence[str], picture: Shape) -> dict[str, Shape]:
        """Shapes of tensors, found by one run on a blank picture: inference often does not tell."""
        outputs = [onnx.ValueInfoProto(name=name) for name in names]
        part = self.part(self.nodes_to(names), self.inputs, outputs)
        kind = onnx.helper.tensor_dtype_to_np_dtype(self.inputs[0].type.tensor_type.elem_type)
        found = run(session(part), {self.inputs[0].name: np.zeros(picture, kind)})
        return {name: tuple(np.shape(tensor)) for name, tensor in zip(names, found)}


def run(session: Any, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """All outputs of a session; raises ModelError."""
    try:
        return list(session.run(None, dict(feed)))
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        raise ModelError(f"onnxruntime cannot run a part of it: {_line(error)}") from None


def session(model: Any) -> Any:
    """An onnxruntime session of a model in memory; raises ModelError."""
    settings = ort.SessionOptions()
    settings.log_severity_level = SILENT
    try:
        return ort.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # as above
        raise ModelError(f"onnxruntime cannot load a part of it: {_line(error)}") from None


def sources(node: Any) -> Iterator[str]:
    """Names of the tensors that a node reads, those read inside its subgraphs included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from sources(inner)


def copy_of(message: Any) -> Any:
    """A copy of a protocol-buffer message."""
    twin = type(message)()
    twin.CopyFrom(message)
    return twin


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    for one in node.attribute:
        if one.name == name:
            return onnx.helper.get_attribute_value(one)
    return default


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
