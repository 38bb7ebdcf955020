"""What a .bin of the RDK X5 (D-Robotics hb_mapper, bayes-e) says about itself.

It is a protocol-buffer message much like ONNX, with the compiled network in the initializer
PACKED_HBM_MODEL.  Field numbers as observed in files of hb_mapper 1.24.3; they are listed in
docs/model-files.md.  Neither the order of initializers nor that of metadata is fixed.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npud.errors import ModelError
from postprocess.tensor import Layout, Quantization, TensorSpec
from runtime.models.bounds import (
    MAX_DIMENSIONS,
    MAX_TENSORS,
    Budget,
    check_count,
    check_shape,
    read_file,
)
from runtime.models.hobot_pixels import pixels_of
from runtime.models.info import Grid, ModelInfo, OutputOrigin, Versions, picture_size
from runtime.models.protobuf import fields, floats, integers, messages, text

PACKED = "PACKED_HBM_MODEL"
MAGIC = b"#B2Ehbm#########"
DTYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
          9: "float16"}  # fmt: skip


@dataclass(frozen=True)
class _Node:
    op: str
    inputs: list[str]
    layout: str  # of the output, where the node says it


@dataclass
class _Graph:
    """What is needed of a graph, by tensor name."""

    name: str = ""
    made_by: dict[str, _Node] = field(default_factory=dict)
    inputs: list[TensorSpec] = field(default_factory=list)
    outputs: list[TensorSpec] = field(default_factory=list)
    inner: dict[str, TensorSpec] = field(default_factory=dict)
    scales: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    input_types: list[int] = field(default_factory=list)
    versions: tuple[str, str] | None = None  # runtime, compiler: of the compiled network


def read(path: Path) -> ModelInfo:
    """Read versions, target, tensors, scales and build options; ModelError for anything else."""
    return read_file(path, "a .bin for RDK X5", _read)


def _read(data: memoryview) -> ModelInfo:
    if bytes(data[:1]) != b"\x08":  # field 1, a number
        raise ModelError(f"got a file that begins with {bytes(data[:8])!r}")
    budget = Budget()
    metadata: dict[str, str] = {}
    graphs: list[memoryview] = []
    for number, value in fields(data, budget):
        if number == 5 and isinstance(value, memoryview):
            graphs.append(value)
        elif number == 6 and isinstance(value, memoryview):
            for entry in messages(value, 1, budget):
                pair = {n: text(v, budget) for n, v in fields(entry, budget)}
                metadata[pair.get(1, "")] = pair.get(2, "")
    if len(graphs) != 1:
        raise ModelError(f"expected one graph, got {len(graphs)}")
    graph = _graph(graphs[0], budget)
    if graph.versions is None:
        raise ModelError(f"expected a compiled network, {PACKED}, got none")
    if not graph.inputs or not graph.outputs:
        raise ModelError("expected inputs and outputs, got none")
    return _info(graph, metadata, graph.versions)


def _info(graph: _Graph, metadata: dict[str, str], versions: tuple[str, str]) -> ModelInfo:
    grids = {spec.name: grid for spec in graph.outputs if (grid := _grid(spec, graph))}
    return ModelInfo(
        format="bin",
        input_size=next((size for spec in graph.inputs if (size := picture_size(spec))), None),
        origins={name: _origin(grid) for name, grid in grids.items()},
        metadata=metadata,
        name=metadata.get("MODEL_PREFIX") or graph.name,
        target=metadata.get("MARCH", ""),
        versions=Versions(
            toolkit=metadata.get("BUILDER_VERSION", ""),
            compiler=versions[1] or metadata.get("HBDK_VERSION", ""),
            runtime=versions[0] or metadata.get("HBDK_RUNTIME_VERSION", "").strip(),
        ),
        inputs=tuple(graph.inputs),
        outputs=tuple(_output(spec, graph, grids.get(spec.name)) for spec in graph.outputs),
        pixels={
            spec.name: pixels_of(i, metadata, graph.input_types)
            for i, spec in enumerate(graph.inputs)
        },
        grids=grids,
        calibration=metadata.get("CALI_TYPE", ""),
    )


def _output(spec: TensorSpec, graph: _Graph, grid: Grid | None) -> TensorSpec:
    """The output with the layout its node states, and the grid where it is not dequantized."""
    node = graph.made_by.get(spec.name)
    layout: Layout = "nhwc" if node and node.layout == "NHWC" and len(spec.shape) == 4 else ""
    quantization = grid.quantization if grid and spec.dtype.kind in "iu" else None
    return TensorSpec(spec.name, spec.shape, spec.dtype, layout, quantization)


def _graph(data: memoryview, budget: Budget) -> _Graph:
    graph = _Graph()
    for number, value in fields(data, budget):
        if number == 7:
            graph.input_types += integers(value, MAX_TENSORS)
        elif isinstance(value, int):
            continue
        elif number == 1:
            _add_node(graph, value, budget)
        elif number == 2:
            graph.name = text(value, budget)
        elif number == 3:
            _add_initializer(graph, value, budget)
        elif number in (4, 5):
            specs = graph.inputs if number == 4 else graph.outputs
            specs.append(_value(value, budget))
            check_count(len(specs), MAX_TENSORS, "inputs and outputs")
        elif number == 6:
            spec = _value(value, budget)
            graph.inner[spec.name] = spec
    return graph


def _add_node(graph: _Graph, data: memoryview, budget: Budget) -> None:
    inputs, outputs, op, layout = [], [], "", ""
    for number, value in fields(data, budget):
        if number == 1:
            inputs.append(text(value, budget))
        elif number == 2:
            outputs.append(text(value, budget))
        elif number == 4:
            op = text(value, budget)
        elif number == 5 and isinstance(value, memoryview):
            entry = dict(fields(value, budget))
            if text(entry.get(1, 0), budget) == "output_data_format":
                layout = text(entry.get(5, 0), budget)
    node = _Node(op, inputs, layout)
    graph.made_by.update((name, node) for name in outputs)


def _add_initializer(graph: _Graph, data: memoryview, budget: Budget) -> None:
    """Keep a list of floats by its name, or the compiled network's versions."""
    found = dict(fields(data, budget))
    name = text(found.get(8, memoryview(b"")), budget)
    if name == PACKED:
        graph.versions = _packed(found.get(5, b""))
    elif 2 in found and name.endswith("_x_scale"):
        graph.scales[name] = floats(found[2], budget)


def _packed(data: int | memoryview | bytes) -> tuple[str, str]:
    """(runtime, compiler) versions: strings of 32 bytes at 0x1c and 0x3c behind the magic."""
    head = bytes(data[:0x5C]) if not isinstance(data, int) else b""
    if len(head) < 0x5C or not head.startswith(MAGIC):
        raise ModelError(f"expected {MAGIC!r} in {PACKED}, got {head[:16]!r}")
    runtime, compiler = (
        head[at : at + 32].partition(b"\0")[0].decode("ascii", "replace") for at in (0x1C, 0x3C)
    )
    return runtime or ".".join(map(str, struct.unpack_from("<3I", head, 0x10))), compiler


def _value(data: memoryview, budget: Budget) -> TensorSpec:
    name, kind, shape = "", 0, []
    for number, value in fields(data, budget):
        if number == 1:
            name = text(value, budget)
        elif number == 2 and isinstance(value, memoryview):
            for n, v in fields(value, budget):
                if n == 1 and isinstance(v, int):
                    kind = v
                elif n == 2:
                    shape += integers(v, MAX_DIMENSIONS)
    if kind not in DTYPES:
        raise ModelError(f"expected a known type of {name}, got number {kind}")
    sides = check_shape(tuple(shape), name)
    return TensorSpec(name, sides, np.dtype(DTYPES[kind]), _layout(sides))


def _layout(shape: tuple[int, ...]) -> Layout:
    """NHWC for a picture with the channels last; the graph's own field says how it was trained."""
    if len(shape) != 4 or (shape[1] == 3) == (shape[3] == 3):
        return ""
    return "nchw" if shape[1] == 3 else "nhwc"


def _grid(spec: TensorSpec, graph: _Graph) -> Grid | None:
    """The integers below an output: its Dequantize's operands, or the scale named like it.

    Without Dequantize "a/Conv_output_0_quantized" has "a/Conv_x_scale".
    """
    node = graph.made_by.get(spec.name)
    stem = re.sub(r"_output_\d{1,4}(_quantized)?$", "", spec.name)
    source, scale = spec, graph.scales.get(f"{stem}_x_scale")
    if node is not None and node.op == "Dequantize" and len(node.inputs) > 1:
        source = graph.inner.get(node.inputs[0], spec)
        scale = graph.scales.get(node.inputs[1])
    if scale is None or not len(scale) or source.dtype.kind not in "iu":
        return None
    if not (np.isfinite(scale).all() and (scale >= 0).all() and scale.any()):
        raise ModelError(f"expected positive scales of {spec.name}, got {scale.min()}")
    if len(scale) == 1:
        return Grid(source.dtype, Quantization.per_tensor(float(scale[0])))
    if len(scale) not in spec.shape:
        raise ModelError(f"{len(scale)} scales do not fit {spec}")
    return Grid(source.dtype, Quantization(scale, np.zeros(len(scale), np.int32)))


def _origin(grid: Grid) -> OutputOrigin:
    """32-bit integers are a convolution's sums: nothing else leaves this chip's NPU as such."""
    if grid.dtype == np.int32:
        return OutputOrigin("Conv", "the values come as int32 sums of a convolution")
    return OutputOrigin("", f"the values come as {grid.dtype.name}")
