"""Recordings of a model's outputs: an .npz that backend `replay` runs in place of the model.

Members: `spec`, a JSON text {"version": 1, "inputs": [tensor…], "outputs": [tensor…]} where a
tensor is {"name", "shape", "dtype", "layout", "scale", "zero_point"} (the last two only where it is
quantized, as lists of one or C numbers); and per output i `output_i`, all frames of it, an array
[frames, *shape].
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from npud.errors import ModelError
from postprocess.tensor import TensorSpec
from runtime.models.info import Grid, ModelInfo, picture_size
from runtime.models.tensor_json import TensorJson

MAX_BYTES = 4 << 30  # unpacked


class _Spec(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[1]
    inputs: list[TensorJson]
    outputs: list[TensorJson]


@dataclass(frozen=True, eq=False)
class Recording:
    """Tensors of a model, and per output all frames: an array (frames, *shape)."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    frames: tuple[NDArray[Any], ...]


def read(path: Path) -> ModelInfo:
    """Read what a recording says of its model; raises ModelError."""
    recording = load(path)
    sizes = [picture_size(spec) for spec in recording.inputs]
    return ModelInfo(
        format="recording",
        input_size=sizes[0] if sizes else None,
        inputs=recording.inputs,
        outputs=recording.outputs,
        grids={s.name: Grid(s.dtype, q) for s in recording.outputs if (q := s.quantization)},
    )


def load(path: Path) -> Recording:
    """Read a whole recording; raises ModelError."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"{size} bytes of tensors, more than {MAX_BYTES}")
        with np.load(path, allow_pickle=False) as file:
            spec = msgspec.json.decode(str(file["spec"]), type=_Spec)
            inputs, outputs = (tuple(t.spec() for t in s) for s in (spec.inputs, spec.outputs))
            frames = tuple(file[f"output_{number}"] for number in range(len(spec.outputs)))
    except Exception as error:  # zipfile, zlib, numpy and msgspec raise a dozen kinds
        why = str(error).strip("'") or type(error).__name__
        raise ModelError(f"model {path}: expected a recording, got: {why}") from None
    for array in frames:
        array.flags.writeable = False
    counts = {len(array) for array in frames if array.ndim}
    if len(counts) != 1 or not counts.pop():
        raise ModelError(f"model {path}: expected as many frames, at least one, of each output")
    for output, array in zip(outputs, frames):
        if array.shape[1:] != output.shape or array.dtype != output.dtype:
            got = f"{list(array.shape[1:])} {array.dtype}"
            raise ModelError(f"model {path}: expected output {output} in each frame, got {got}")
    return Recording(inputs, outputs, frames)


def save(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    frames: Iterable[Sequence[NDArray[Any]]],
) -> None:
    """Write a recording; each frame holds one array per output, as its spec says."""
    spec = _Spec(1, [TensorJson.of(s) for s in inputs], [TensorJson.of(s) for s in outputs])
    members: dict[str, Any] = {f"output_{i}": np.stack(a) for i, a in enumerate(zip(*frames))}
    np.savez_compressed(path, spec=np.array(msgspec.json.encode(spec).decode()), **members)
