"""What a model file says about itself, and the manifest beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from npud.errors import ModelError
from runtime.models import hobot, onnx, recording, rknn
from runtime.models.info import ModelInfo

READERS = {
    ".onnx": onnx.read,
    ".rknn": rknn.read,
    ".bin": hobot.read,
    ".npz": recording.read,
}


def describe(path: Path) -> ModelInfo:
    """Read a model file's own facts; raises ModelError for what is missing or unknown."""
    if not path.is_file():
        what = "a directory" if path.is_dir() else "no such file"
        raise ModelError(f"model {path}: expected a model file, got {what}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(READERS)
        raise ModelError(f"model {path}: expected one of {known}, got {path.suffix or 'no suffix'}")
    try:
        return reader(path)
    except OSError as error:
        raise ModelError(f"model {path}: {error.strerror or error}") from None


def digest(path: Path) -> str:
    """The first 12 hex digits of a file's SHA-256."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()[:12]
