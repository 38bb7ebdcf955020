"""How a converted model was made, in full: MODEL.conversion/conversion.json, for its simulator.

The manifest's [conversion] says the same to people.  Beside it in the folder: the calibration
pictures as they were fed, the toolkit's log, and its by-products.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from npud.errors import ModelError
from runtime import models
from runtime.toolkits.job import Quantization, Setting

FILE = "conversion.json"
PICTURES = "calibration.npy"


class Record(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Paths are relative to the folder; digests those of runtime.models.digest()."""

    version: Literal[1]
    toolkit: str
    toolkit_version: str
    target: str
    quantization: Quantization
    source: str
    source_digest: str
    model_digest: str
    input_name: str
    color: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    settings: dict[str, Setting]
    quantized: str = ""
    quantized_digest: str = ""


def folder_of(model: Path) -> Path:
    """Where the by-products of a converted model are."""
    return model.with_suffix(".conversion")


def write(folder: Path, record: Record, pictures: NDArray[np.uint8] | None) -> None:
    """Write the record, and the pictures unless there are none."""
    if pictures is not None:
        np.save(folder / PICTURES, pictures)
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))


def read(model: Path, toolkit: str) -> tuple[Record, Path]:
    """The record of a model file, and its folder; raises ModelError where it does not fit it."""
    folder = folder_of(model)
    try:
        record = msgspec.json.decode((folder / FILE).read_bytes(), type=Record)
    except OSError as error:
        raise ModelError(
            f"model {model}: expected what npud convert wrote in {folder}, which a simulator "
            f"needs, got: {error.strerror}"
        ) from None
    except msgspec.DecodeError as error:
        raise ModelError(f"model {model}: {folder / FILE}: {error}") from None
    if record.toolkit != toolkit:
        raise ModelError(f"model {model}: expected a model of {toolkit}, got {record.toolkit}")
    check_digest(model, record.model_digest, f"{folder / FILE} is that of another file")
    return record, folder


def source_of(model: Path, record: Record, folder: Path) -> Path:
    """The .onnx that it was made from; raises ModelError where it has gone or has changed."""
    source = (folder / record.source).resolve()
    check_digest(source, record.source_digest, f"it has changed since {model} was made from it")
    return source


def check_digest(path: Path, expected: str, why: str) -> None:
    """Raise ModelError unless the file is there and has the digest."""
    try:
        got = models.digest(path)
    except OSError as error:
        raise ModelError(f"model {path}: {error.strerror or error}") from None
    if got != expected:
        raise ModelError(f"model {path}: expected digest {expected}, got {got}: {why}")


def pictures_of(record: Record, folder: Path) -> NDArray[np.uint8] | None:
    """The calibration pictures, (N, H, W, 3) uint8; None for fp16.  Raises ModelError."""
    if record.quantization == "fp16":
        return None
    try:
        pictures: NDArray[np.uint8] = np.load(folder / PICTURES, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / PICTURES}: expected calibration pictures: {error}") from None
    return pictures
