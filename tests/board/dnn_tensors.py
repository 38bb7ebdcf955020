"""What stub_dnn.c serves: a file of tensors."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

TYPES = {"float32": 13, "int32": 14}  # libdnn's numbers
NHWC = 0


def write_tensors(
    path: Path,
    size: tuple[int, int],
    outputs: Mapping[str, np.ndarray],
    scales: Mapping[str, Sequence[float]] | None = None,
) -> Path:
    """What stub_dnn.c serves: outputs in NHWC, and a scale per channel for integers."""
    data = b"NPUDSTUB" + struct.pack("<3i", *size, len(outputs))
    for name, array in outputs.items():
        own = (scales or {}).get(name, ())
        kind = TYPES[array.dtype.name]
        data += struct.pack("<64s4i", name.encode(), kind, NHWC, len(own), array.ndim)
        data += struct.pack("<4i", *array.shape) + struct.pack("<i", array.nbytes)
        data += struct.pack(f"<{len(own)}f", *own) + array.tobytes()
    path.write_bytes(data)
    return path
