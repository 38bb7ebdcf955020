"""What stub_rknnrt.c serves: outputs per frame, each for an input with a given checksum."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from postprocess.tensor import TensorSpec

TYPES = ("float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")
LAYOUTS = {"nchw": 0, "nhwc": 1, "nc1hwc2": 2, "": 3}
AFFINE = 2
ANY = 0  # the checksum of the frame for every input


def checksum(tensor: np.ndarray) -> int:
    """The stub's checksum of an input's bytes, never 0."""
    data = tensor.tobytes()
    words = np.frombuffer(data + bytes(-len(data) % 8), "<u8")
    factors = np.arange(len(words), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    with np.errstate(over="ignore"):
        total = int((words * factors * np.uint64(0x9E3779B97F4A7C15)).sum(dtype=np.uint64))
    return total or 1


def echo(tensor: np.ndarray) -> np.ndarray:
    """The four bytes that STUB_OUTPUT=echo puts first into output 0, as int8."""
    total = checksum(tensor)
    return np.frombuffer(struct.pack("<Q", total ^ total >> 32)[:4], np.int8)


def write(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    frames: Iterable[tuple[int, Sequence[np.ndarray]]],
) -> Path:
    """Write a side file; frames are (checksum of the input or ANY, one array per output)."""
    frames = list(frames)
    data = bytearray(struct.pack("<8s4I", b"NPUDSTUB", len(inputs), len(outputs), len(frames), 0))
    for spec in (*inputs, *outputs):
        q = spec.quantization
        data += struct.pack("<64s3I", spec.name.encode(), LAYOUTS[spec.layout],
                            TYPES.index(spec.dtype.name), AFFINE if q else 0)  # fmt: skip
        data += struct.pack("<if", int(q.zero_point) if q else 0, float(q.scale) if q else 0.0)
        shape = (*spec.shape, *[0] * 8)[:8]
        data += struct.pack("<9I", len(spec.shape), *shape)
    for wanted, arrays in frames:
        data += struct.pack("<Q", wanted)
        for spec, array in zip(outputs, arrays):
            if array.shape != spec.shape or array.dtype != spec.dtype:
                raise ValueError(f"expected {spec}, got {array.shape} {array.dtype}")
            data += array.tobytes()
    path.write_bytes(data)
    return path


def quantize(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Real numbers as the spec's integers, rounded and saturated; others converted."""
    if spec.quantization is None:
        return array.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    stored = np.rint(array.astype(np.float64) / spec.quantization.scale)
    return (stored + spec.quantization.zero_point).clip(limits.min, limits.max).astype(spec.dtype)
