"""What an .onnx file says about itself: labels, input size, and where its outputs come from.

Field numbers: onnx.proto (ModelProto 7 graph, 14 metadata_props; GraphProto 1 node, 12 output;
NodeProto 1 input, 2 output, 4 op_type; ValueInfoProto 1 name; StringStringEntryProto 1 key,
2 value).
"""

from __future__ import annotations

import ast
import json
import mmap
from pathlib import Path

from npud.errors import ModelError
from runtime.models.info import ModelInfo, OutputOrigin
from runtime.models.protobuf import fields, text

# Nodes that move values without changing them: the origin of an output is looked for above them.
MOVES = frozenset({"Transpose", "Reshape", "Identity", "Concat", "Flatten", "Squeeze", "Unsqueeze",
                   "Slice", "Cast", "Split"})  # fmt: skip


def read(path: Path) -> ModelInfo:
    """Read metadata and output origins; raises ModelError for what is no ONNX file."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _read(memoryview(data))
    except ModelError as error:
        raise ModelError(f"model {path}: expected an ONNX file: {error}") from None
    except ValueError:  # mmap of an empty file
        raise ModelError(f"model {path}: expected an ONNX file, got an empty one") from None


def _read(data: memoryview) -> ModelInfo:
    metadata: dict[str, str] = {}
    graph: memoryview | None = None
    for number, value in fields(data):
        if number == 14 and isinstance(value, memoryview):
            entry = {n: text(v) for n, v in fields(value)}
            metadata[entry.get(1, "")] = entry.get(2, "")
        elif number == 7 and isinstance(value, memoryview):
            graph = value
    if graph is None:
        raise ModelError("it has no graph")
    return ModelInfo(
        format="onnx",
        labels=_labels(metadata.get("names", "")),
        input_size=_size(metadata.get("imgsz", "")),
        origins=_origins(graph),
        metadata=metadata,
    )


def _origins(graph: memoryview) -> dict[str, OutputOrigin]:
    made_by: dict[str, tuple[str, list[str]]] = {}
    outputs: list[str] = []
    for number, value in fields(graph):
        if number == 1 and isinstance(value, memoryview):
            op, sources, results = "", [], []
            for n, v in fields(value):
                if n == 1:
                    sources.append(text(v))
                elif n == 2:
                    results.append(text(v))
                elif n == 4:
                    op = text(v)
            made_by.update((name, (op, sources)) for name in results)
        elif number == 12 and isinstance(value, memoryview):
            outputs += [text(v) for n, v in fields(value) if n == 1]
    return {name: _origin(name, made_by) for name in outputs}


def _origin(name: str, made_by: dict[str, tuple[str, list[str]]]) -> OutputOrigin:
    for _ in range(len(made_by) + 1):
        op, sources = made_by.get(name, ("", []))
        if op not in MOVES or not sources:
            return OutputOrigin(op, f"the graph's last node is {op or 'unknown'}")
        name = sources[-1] if op == "Concat" else sources[0]  # scores are concatenated last
    raise ModelError("its graph has a cycle")


def _labels(names: str) -> tuple[str, ...]:
    """Labels from Ultralytics' `names`, "{0: 'person', …}" or JSON; () if they are unreadable."""
    try:
        value = ast.literal_eval(names) if names else ()
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        try:
            value = json.loads(names)
        except (ValueError, RecursionError):
            return ()
    if isinstance(value, dict):
        try:
            value = [value[key] for key in sorted(value, key=int)]
        except (TypeError, ValueError):
            return ()
    return tuple(str(label) for label in value) if isinstance(value, (list, tuple)) else ()


def _size(imgsz: str) -> tuple[int, int] | None:
    try:
        value = json.loads(imgsz)
        size = (int(value[0]), int(value[1])) if isinstance(value, list) else (int(value),) * 2
    except (ValueError, TypeError, IndexError, RecursionError):
        return None
    return size if min(size) > 0 else None
