"""Calibration pictures as the model will see them: npud's own letterbox, bytes, never scaled.

The toolkits apply mean and std themselves.  Dividing by 255 here as well is the commonest mistake
with these toolkits, and gives a model that finds nothing (docs/convert.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npud.errors import ConfigError, SourceError
from runtime import models
from runtime.calib.folder import list_files
from runtime.frame import Frame
from runtime.input_spec import InputSpec
from runtime.preprocess import Preprocessor
from runtime.sources import IMAGE_SUFFIXES
from runtime.sources.images import read_image


@dataclass(frozen=True, eq=False)
class Calibration:
    """Pictures (N, H, W, 3) uint8 in the model's channel order, and where they came from."""

    pictures: NDArray[np.uint8]
    source: str
    digest: str  # of the files' names and contents, in order


def read(where: Path, spec: InputSpec, most: int) -> Calibration:
    """Read at most `most` images of a set, evenly spread over it; raises ConfigError."""
    try:
        paths = list_images(where, most)
        pictures = tensors([read_image(path) for path in paths], spec)
    except SourceError as error:
        raise ConfigError(f"--calibration: {error}") from None
    return Calibration(pictures, where.resolve().name, digest(paths))


def list_images(where: Path, most: int) -> list[Path]:
    """`most` images of a set, a directory or a .txt that lists them; raises SourceError."""
    paths = [path for path in list_files(where) if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise SourceError(f"{where}: expected images, found none")
    return spread(paths, most)


def spread(paths: Sequence[Path], most: int) -> list[Path]:
    """`most` of the paths, evenly spread, all of them where there are no more."""
    if len(paths) <= most:
        return list(paths)
    return [paths[number * len(paths) // most] for number in range(most)]


def tensors(pictures: Sequence[NDArray[np.uint8]], spec: InputSpec) -> NDArray[np.uint8]:
    """BGR pictures -> (N, H, W, 3) uint8, 0..255, fitted and ordered as `spec` says."""
    plain = replace(
        spec,
        layout="nhwc",
        dtype=np.dtype(np.uint8),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        quantization=None,
    )
    preprocess = Preprocessor(plain)
    return np.concatenate([preprocess(Frame(picture))[0].copy() for picture in pictures])


def digest(paths: Sequence[Path]) -> str:
    """The first 12 hex digits of the SHA-256 over names and contents."""
    sha = hashlib.sha256()
    for path in paths:
        sha.update(f"{models.digest(path)} {path.name}\n".encode())
    return sha.hexdigest()[:12]
