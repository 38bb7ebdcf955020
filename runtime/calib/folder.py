"""Read a calibration set: a directory, or a list of files as rknn-toolkit2 takes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npud.errors import NpudError, SourceError
from runtime.calib.sample import Sample, sample_of
from runtime.calib.tensor import Tensor, read_tensor
from runtime.sources import IMAGE_SUFFIXES
from runtime.sources.images import read_image

MIN_DIFFERENCE = 4.0  # of the means of red and blue, 0..255, below which a picture tells nothing
TENSOR_SUFFIXES = frozenset({".npy", ".bin"})


@dataclass(frozen=True)
class ColourEvidence:
    """A tensor beside an image of the same name: whether its channels are the image's RGB order."""

    path: Path
    rgb: bool


@dataclass
class CalibrationSet:
    """What was read: figures of the pictures (those in tensors, too), tensors, failures."""

    where: Path
    samples: list[Sample] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    colours: list[ColourEvidence] = field(default_factory=list)
    ignored: int = 0


def read_set(where: Path, size: tuple[int, int] | None, color: str) -> CalibrationSet:
    """Read all pictures and tensors below a directory, or named in a .txt, one path a line.

    size: the model's (height, width); color: channel order of tensors, "rgb" or "bgr".  Images that
    only stand beside a tensor of the same name are evidence for its colours, not part of the set.
    Raises SourceError where there is nothing to read.
    """
    found = CalibrationSet(where)
    paths = list(list_files(where))
    tensors = {path.with_suffix("") for path in paths if path.suffix.lower() in TENSOR_SUFFIXES}
    for path in paths:
        try:
            if path.suffix.lower() in TENSOR_SUFFIXES:
                _add_tensor(found, path, size, color)
            elif path.suffix.lower() not in IMAGE_SUFFIXES:
                found.ignored += 1
            elif path.with_suffix("") not in tensors:
                found.samples.append(sample_of(path, read_image(path)))
        except NpudError as error:
            found.unreadable.append(str(error))
    if not found.samples and not found.unreadable:
        raise SourceError(f"{where}: expected images, .npy or .bin files, found none")
    return found


def list_files(where: Path) -> Iterator[Path]:
    """The files of a calibration set: a directory with those below, or a .txt that lists them."""
    if where.is_dir():
        yield from sorted(p for p in where.rglob("*") if p.is_file() and p.name[0] != ".")
        return
    if where.suffix.lower() != ".txt":
        what = "a file" if where.exists() else "no such file or directory"
        raise SourceError(
            f"{where}: expected a directory, or a .txt with a path on each line, got {what}"
        )
    try:
        lines = where.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{where}: cannot read the list: {error}") from None
    for line in filter(None, map(str.strip, lines)):
        yield where.parent / line


def _add_tensor(
    found: CalibrationSet, path: Path, size: tuple[int, int] | None, color: str
) -> None:
    tensor, planes = read_tensor(path, size)
    bgr = planes if color == "bgr" else planes[..., ::-1]
    found.samples.append(sample_of(path, np.ascontiguousarray(bgr.astype(np.uint8))))
    if tensor.layout != "nv12" and (evidence := _beside(path, planes)) is not None:
        found.colours.append(evidence)
    found.tensors.append(tensor)


def _beside(path: Path, planes: NDArray[np.float32]) -> ColourEvidence | None:
    """Compare a tensor's first and last channel with red and blue of the image of that name."""
    for suffix in IMAGE_SUFFIXES:
        image = path.with_suffix(suffix)
        if not image.is_file():
            continue
        try:
            blue, _, red = read_image(image).reshape(-1, 3).mean(0)
        except SourceError:
            return None
        ours = float(planes[..., 0].mean() - planes[..., 2].mean())
        if abs(red - blue) < MIN_DIFFERENCE or abs(ours) < MIN_DIFFERENCE / 2:
            return None
        return ColourEvidence(path, (ours > 0) == bool(red > blue))
    return None
