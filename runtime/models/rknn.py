"""What an .rknn file (format 6: RK356x, RK3576, RK3588) says about itself.

Layout, little-endian, as observed in files of rknn-toolkit2 1.5.2 to 2.5.0: 8 bytes magic, u64
format, u64 flatbuffer length, 40 bytes reserved, the flatbuffer, u64 length and a JSON trailer.
The slots read are listed in docs/model-files.md.  Other formats are refused.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from npud.errors import ModelError
from postprocess.tensor import Layout, Quantization, TensorSpec
from runtime.models import flatbuffer, literal
from runtime.models.bounds import (
    MAX_CHANNELS,
    MAX_DIMENSIONS,
    MAX_NODES,
    MAX_TENSORS,
    Budget,
    check_count,
    check_shape,
    read_file,
)
from runtime.models.flatbuffer import Table
from runtime.models.info import Grid, ModelInfo, OutputOrigin, Pixels, Versions, picture_size

MAGIC = b"RKNN\0\0\0\0"
HEADER = struct.Struct("<8sQQ40x")
LENGTH = struct.Struct("<Q")
FORMAT = 6
OLD = "convert the model again with rknn-toolkit2 2.x"
OTHER_FORMATS = {
    1: f"an old toolkit's; {OLD}",
    0x1004: "RV1103 and RV1106's, which npud does not run; convert the model for rk3588",
}
BYTES = {3: "int8", 7: "int64", 10: "float16"}  # the type numbers seen
DTYPES = {"int8", "uint8", "int16", "uint16", "int32", "int64", "float16", "float32"}
COMPILER = re.compile(r"([^(]{0,64})\(compiler version: (.{0,200})\)", re.DOTALL)
MOVES = frozenset({"Reshape", "Transpose", "Identity"})
MAX_MOVES = 64  # reshapes between an operation and the output


def read(path: Path) -> ModelInfo:
    """Read versions, target, tensors and quantization; raises ModelError for anything else."""
    return read_file(path, "an .rknn file of format 6", _read)


def _read(data: memoryview) -> ModelInfo:
    body, trailer = _split(data)
    root = flatbuffer.root(body, b"RKNN", Budget())
    if root.integer(0) != FORMAT:
        raise ModelError(f"the flatbuffer says format {root.integer(0)}")
    if root.count(2) != 1:
        raise ModelError(f"expected one graph, got {root.count(2)}")
    config = literal.mapping(root.text(3))
    inputs, in_grids = _tensors(root, 2, literal.mapping(root.text(12)))
    outputs, out_grids = _tensors(root, 3, literal.mapping(root.text(13)))
    sizes = [picture_size(spec) for spec in inputs]
    toolkit, compiler = _versions(root.text(7))
    return ModelInfo(
        format="rknn",
        input_size=sizes[0] if sizes else None,
        origins=_origins(root.table(2, 0), outputs),
        metadata=_metadata(root),
        name=str(trailer.get("name", "")),
        target=root.text(8),
        versions=Versions(str(FORMAT), toolkit or str(trailer.get("version", "")), compiler),
        inputs=inputs,
        outputs=outputs,
        pixels=_pixels(config, inputs),
        grids={**in_grids, **out_grids},
        calibration=_calibration(root, config),
        operations=_operations(root.table(2, 0)),
    )


def _split(data: memoryview) -> tuple[memoryview, dict[Any, Any]]:
    """The flatbuffer and the trailer's object."""
    magic = bytes(data[:8])
    if magic == b"CYPTRKNN":
        raise ModelError("it is encrypted; npud reads unencrypted files only")
    if magic != MAGIC or len(data) < HEADER.size:
        raise ModelError(f"got a file that begins with {magic!r}")
    _, version, length = HEADER.unpack_from(data)
    if version != FORMAT:
        shown = f"{version:#x}" if version >= 0x1000 else str(version)
        raise ModelError(f"got format {shown}, {OTHER_FORMATS.get(version, f'unknown; {OLD}')}")
    end = HEADER.size + length
    if end + LENGTH.size > len(data):
        raise ModelError(f"truncated: a graph of {length} bytes in a file of {len(data)}")
    (size,) = LENGTH.unpack_from(data, end)
    start = end + LENGTH.size
    if size > len(data) - start:
        raise ModelError(f"truncated: a trailer of {size} bytes, {len(data) - start} are left")
    trailer = literal.parse(Budget().text(data[start : start + size]).rstrip("\0 \n"))
    if not isinstance(trailer, dict):
        raise ModelError("expected a JSON object at the end")
    return data[HEADER.size : end], trailer


def _versions(text: str) -> tuple[str, str]:
    """(toolkit, compiler) of "2.3.2(compiler version: 2.3.2 (…))"."""
    found = COMPILER.match(text)
    return (found[1].strip(), found[2]) if found else (text[:64].strip(), "")


def _metadata(root: Table) -> dict[str, str]:
    entries = {"npu": root.text(1), "framework": root.text(9), "custom_string": root.text(11),
               "shapes": root.text(16)}  # fmt: skip
    return {key: value for key, value in entries.items() if value}


def _calibration(root: Table, config: dict[Any, Any]) -> str:
    """Quantization in the toolkit's words, e.g. "asym, per layer"; "" for a float model."""
    graph = root.table(2, 0)
    outputs = [graph.table(0, int(i)) for i in graph.integers(3, MAX_TENSORS)]
    methods = {t.text(6) for t in outputs if len(t.floats(10, MAX_CHANNELS))} - {""}
    table = config.get("quant_tab")
    kinds = (
        {str(entry.get("qtype")) for entry in table.values() if isinstance(entry, dict)}
        if isinstance(table, dict)
        else set()
    )
    words = [", ".join(sorted(kinds - {"None", ""}))] if methods else []
    words += [f"per {method}" for method in sorted(methods)]
    return ", ".join(word for word in words if word)[:200]


def _tensors(
    root: Table, slot: int, stated: dict[Any, Any]
) -> tuple[tuple[TensorSpec, ...], dict[str, Grid]]:
    """The graph's inputs (slot 2) or outputs (slot 3), with the grids of the quantized ones."""
    graph = root.table(2, 0)
    indices = graph.integers(slot, MAX_TENSORS)
    if not len(indices):
        raise ModelError("expected inputs and outputs, got none")
    specs, grids = [], {}
    for index in indices:
        tensor = graph.table(0, int(index))
        spec = _spec(tensor, stated)
        specs.append(spec)
        if spec.quantization is not None:
            grids[spec.name] = Grid(spec.dtype, spec.quantization, _range(tensor))
    return tuple(specs), grids


def _spec(tensor: Table, stated: dict[Any, Any]) -> TensorSpec:
    name = tensor.text(5)
    entry = stated.get(name)
    said: dict[Any, Any] = entry if isinstance(entry, dict) else {}
    dtype = BYTES.get(tensor.byte(0), str(said.get("dtype")))
    if dtype not in DTYPES:
        raise ModelError(f"expected a known type of {name}, got number {tensor.byte(0)}")
    shape = tuple(int(side) for side in tensor.integers(4, MAX_DIMENSIONS))
    layout: Layout = "nchw" if said.get("layout") == "NCHW" and len(shape) == 4 else ""
    if said.get("layout") == "NHWC" and len(shape) == 4 and shape[1] == 3:
        shape, layout = (shape[0], shape[2], shape[3], 3), "nhwc"  # as it is to be fed
    shape = check_shape(shape, name)
    return TensorSpec(name, shape, np.dtype(dtype), layout, _quantization(tensor, name, shape))


def _quantization(tensor: Table, name: str, shape: tuple[int, ...]) -> Quantization | None:
    scale = tensor.floats(10, MAX_CHANNELS)
    zero = tensor.integers(11, MAX_CHANNELS)
    if not len(scale):
        return None
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelError(f"expected a positive scale of {name}, got {scale.min()}")
    if len(zero) != len(scale):
        raise ModelError(f"{len(scale)} scales but {len(zero)} zero points of {name}")
    if len(scale) == 1:
        return Quantization.per_tensor(float(scale[0]), int(zero[0]))
    if len(scale) not in shape:
        raise ModelError(f"{len(scale)} scales do not fit {name} {list(shape)}")
    return Quantization(scale, zero)


def _range(tensor: Table) -> tuple[float, float] | None:
    """The calibrated (min, max), None where there is none."""
    low, high = (tensor.floats(slot, MAX_CHANNELS) for slot in (8, 9))
    if not (len(low) and len(high) and np.isfinite(low).all() and np.isfinite(high).all()):
        return None
    return float(low.min()), float(high.max())


def _pixels(config: dict[Any, Any], inputs: tuple[TensorSpec, ...]) -> dict[str, Pixels]:
    attributes = config.get("attrs")
    if not isinstance(attributes, dict):
        return {}
    found = {}
    for spec in inputs:
        entry = attributes.get(spec.name)
        if isinstance(entry, dict):
            color = "bgr" if entry.get("rgb2bgr") is True else "rgb"
            mean = _three(literal.numbers(entry.get("mean")))
            found[spec.name] = Pixels(color, color, mean, _three(literal.numbers(entry.get("std"))))
    return found


def _three(values: tuple[float, ...]) -> tuple[float, ...]:
    return values * 3 if len(values) == 1 else values


def _origins(graph: Table, outputs: tuple[TensorSpec, ...]) -> dict[str, OutputOrigin]:
    """The operation each output comes from; fused ones ("ConvSigmoid") count as their last part.

    Empty where the operations are not as in the files seen: nothing else depends on them.
    """
    made_by: dict[int, Table] = {}
    try:
        for number in range(check_count(graph.count(1), MAX_NODES, "operations")):
            node = graph.table(1, number)
            for index in node.integers(5, MAX_TENSORS)[:16]:
                made_by[int(index)] = node
        indices = graph.integers(3, MAX_TENSORS)
        return {spec.name: _origin(int(i), made_by) for spec, i in zip(outputs, indices)}
    except ModelError:
        return {}


def _operations(graph: Table) -> dict[str, int]:
    """How many of each operation; fused ones by their own name.  Empty as in _origins()."""
    try:
        nodes = range(check_count(graph.count(1), MAX_NODES, "operations"))
        counts = Counter(graph.table(1, number).text(1)[:64] for number in nodes)
    except ModelError:
        return {}
    counts["SiLU"] = sum(n for op, n in counts.items() if "swish" in op.lower())
    return {op: n for op, n in counts.items() if n}


def _origin(index: int, made_by: dict[int, Table]) -> OutputOrigin:
    for _ in range(MAX_MOVES):
        node = made_by.get(index)
        if node is None:
            break
        op, sources = node.text(1), node.integers(4, MAX_TENSORS)
        if op not in MOVES or not len(sources):
            last = "Sigmoid" if op == "ConvSigmoid" else op
            parts = len(sources) if op == "Concat" else 1
            return OutputOrigin(last, f"the graph's last operation is {op[:64]}", parts)
        index = int(sources[0])
    return OutputOrigin("", "the graph's last operation is unknown")
