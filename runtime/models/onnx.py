"""What an .onnx file says about itself: labels, tensors, versions, and where its outputs come from.

Field numbers: onnx.proto (ModelProto 1 ir_version, 2 producer_name, 3 producer_version, 7 graph,
8 opset_import, 14 metadata_props; OperatorSetIdProto 1 domain, 2 version; GraphProto 1 node,
2 name, 5 initializer, 11 input, 12 output; NodeProto 1 input, 2 output, 4 op_type; TensorProto
8 name; ValueInfoProto 1 name, 2 type; TypeProto 1 tensor_type of 1 elem_type, 2 shape;
TensorShapeProto 1 dim of 1 dim_value; StringStringEntryProto 1 key, 2 value).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from npud.errors import ModelError
from postprocess.tensor import TensorSpec
from runtime.models import literal
from runtime.models.bounds import (
    MAX_DIMENSIONS,
    MAX_SIDE,
    MAX_TENSORS,
    Budget,
    check_count,
    check_shape,
    read_file,
)
from runtime.models.info import ModelInfo, OutputOrigin, Versions, picture_size
from runtime.models.protobuf import fields, integers, messages, text

# Nodes that move values without changing them: the origin of an output is looked for above them.
MOVES = frozenset({"Transpose", "Reshape", "Identity", "Concat", "Flatten", "Squeeze", "Unsqueeze",
                   "Slice", "Cast", "Split"})  # fmt: skip
MAX_MOVES = 256  # of them in a row
# TensorProto.DataType
DTYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
          9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64"}  # fmt: skip


@dataclass
class _Model:
    """The fields of a ModelProto that are needed."""

    graph: memoryview | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    ir: str = ""
    producer: str = ""
    producer_version: str = ""
    opset: str = ""


@dataclass
class _Graph:
    """What is needed of a GraphProto."""

    name: str = ""
    made_by: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    inputs: list[TensorSpec] = field(default_factory=list)
    outputs: list[TensorSpec] = field(default_factory=list)
    constants: set[str] = field(default_factory=set)


def read(path: Path) -> ModelInfo:
    """Read metadata, tensors and output origins; raises ModelError for what is no ONNX file."""
    return read_file(path, "an ONNX file", _read)


def _read(data: memoryview) -> ModelInfo:
    budget = Budget()
    model = _model(data, budget)
    if model.graph is None:
        raise ModelError("it has no graph")
    graph = _graph(model.graph, budget)
    inputs = tuple(spec for spec in graph.inputs if spec.name not in graph.constants)
    check_count(len(inputs), MAX_TENSORS, "inputs")
    sizes = [size for spec in inputs if (size := picture_size(spec)) and all(size)]
    return ModelInfo(
        format="onnx",
        labels=_labels(model.metadata.get("names", "")),
        input_size=_size(model.metadata.get("imgsz", "")) or (sizes[0] if sizes else None),
        origins={spec.name: _origin(spec.name, graph.made_by) for spec in graph.outputs},
        metadata=model.metadata,
        name=graph.name,
        versions=Versions(
            format=model.ir,
            toolkit=f"{model.producer} {model.producer_version}".strip(),
            opset=model.opset,
        ),
        inputs=inputs,
        outputs=tuple(graph.outputs),
        operations=_operations(graph.made_by),
    )


def _operations(made_by: dict[str, tuple[str, list[str]]]) -> dict[str, int]:
    counts = Counter(op for op, _ in made_by.values())
    for op, sources in made_by.values():
        if op == "Mul" and len(sources) == 2:
            pairs = (sources, sources[::-1])
            counts["SiLU"] += any(made_by.get(a) == ("Sigmoid", [b]) for a, b in pairs)
    return {op: n for op, n in counts.items() if n}


def _model(data: memoryview, budget: Budget) -> _Model:
    model = _Model()
    for number, value in fields(data, budget):
        if number == 1:
            model.ir = str(value) if isinstance(value, int) else ""
        elif number == 2:
            model.producer = text(value, budget)
        elif number == 3:
            model.producer_version = text(value, budget)
        elif isinstance(value, int):
            continue
        elif number == 7:
            model.graph = value
        elif number == 8:
            _add_opset(model, value, budget)
        elif number == 14:
            entry = {n: text(v, budget) for n, v in fields(value, budget)}
            model.metadata[entry.get(1, "")] = entry.get(2, "")
    return model


def _add_opset(model: _Model, data: memoryview, budget: Budget) -> None:
    entry = {n: text(v, budget) for n, v in fields(data, budget)}
    if entry.get(1, "") in ("", "ai.onnx"):
        model.opset = entry.get(2, "")


def _graph(data: memoryview, budget: Budget) -> _Graph:
    graph = _Graph()
    for number, value in fields(data, budget):
        if isinstance(value, int):
            continue
        if number == 1:
            _add_node(graph, value, budget)
        elif number == 2:
            graph.name = text(value, budget)
        elif number == 5:
            graph.constants.update(text(v, budget) for v in messages(value, 8, budget))
        elif number in (11, 12) and (spec := _value(value, budget)) is not None:
            specs = graph.inputs if number == 11 else graph.outputs
            specs.append(spec)
            if number == 12:
                check_count(len(specs), MAX_TENSORS, "outputs")
    return graph


def _add_node(graph: _Graph, data: memoryview, budget: Budget) -> None:
    op, sources, results = "", [], []
    for number, value in fields(data, budget):
        if number == 1:
            sources.append(text(value, budget))
        elif number == 2:
            results.append(text(value, budget))
        elif number == 4:
            op = text(value, budget)
    graph.made_by.update((name, (op, sources)) for name in results)


def _value(data: memoryview, budget: Budget) -> TensorSpec | None:
    """An input or output; dynamic dimensions are 0.  None for what is no tensor."""
    name, kind, shape = "", None, []
    for number, value in fields(data, budget):
        if number == 1:
            name = text(value, budget)
        elif number == 2 and isinstance(value, memoryview):
            for tensor in messages(value, 1, budget):
                for n, v in fields(tensor, budget):
                    if n == 1 and isinstance(v, int):
                        kind = v
                    elif n == 2 and isinstance(v, memoryview):
                        shape = [_side(dim, budget) for dim in messages(v, 1, budget)]
    if kind not in DTYPES:
        return None
    spec = TensorSpec(name, check_shape(tuple(shape), name), np.dtype(DTYPES[kind]))
    if spec.layout == "" and picture_size(spec) is not None and shape[1] != shape[3]:
        layout = "nchw" if shape[1] == 3 else "nhwc"
        return TensorSpec(name, spec.shape, spec.dtype, layout)  # type: ignore[arg-type]
    return spec


def _side(data: memoryview, budget: Budget) -> int:
    """One dimension; 0 where it is symbolic, unknown or not positive."""
    for number, value in fields(data, budget):
        if number == 1 and isinstance(value, int):
            side = integers(value, MAX_DIMENSIONS)[0]
            return side if 0 < side <= MAX_SIDE else 0
    return 0


def _origin(name: str, made_by: dict[str, tuple[str, list[str]]]) -> OutputOrigin:
    parts = 1
    for _ in range(MAX_MOVES):
        op, sources = made_by.get(name, ("", []))
        if op not in MOVES or not sources:
            return OutputOrigin(op, f"the graph's last node is {op or 'unknown'}", parts)
        if op == "Concat":
            parts = max(parts, len(sources))
        name = sources[-1] if op == "Concat" else sources[0]  # scores are concatenated last
    raise ModelError("its graph has a cycle")


def _labels(names: str) -> tuple[str, ...]:
    """Labels from Ultralytics' `names`, "{0: 'person', …}" or JSON; () if they are unreadable."""
    try:
        value = literal.parse(names)
    except ModelError:
        return ()
    if isinstance(value, dict):
        try:
            value = [value[key] for key in sorted(value, key=_class_id)]
        except (TypeError, ValueError, OverflowError):
            return ()
    return tuple(str(label) for label in value) if isinstance(value, list) else ()


def _class_id(key: object) -> int:
    return int(str(key)[:20])


def _size(imgsz: str) -> tuple[int, int] | None:
    """(height, width) from Ultralytics' `imgsz`: "640" or "[480, 640]"."""
    try:
        sides = literal.numbers(literal.parse(imgsz))
    except ModelError:
        return None
    if len(sides) not in (1, 2) or not all(1 <= side <= MAX_SIDE for side in sides):
        return None
    return int(sides[0]), int(sides[-1])
