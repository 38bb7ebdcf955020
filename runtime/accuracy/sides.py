"""A side of a comparison: a model, or what one has returned and somebody has recorded."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from npud.errors import ConfigError, ModelError
from postprocess.tensor import TensorSpec
from runtime import config
from runtime.backends.replay import ReplayBackend
from runtime.detector import Detector, Observation, read_model
from runtime.frame import Frame
from runtime.models import manifest, recording
from runtime.recording import pictures
from runtime.recording.export import export
from runtime.recording.reader import Reader


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """A detector; `frames` is how many frames a recording has, 0 for a model that is run.

    `film` is a recording that may have pictures in it.
    """

    detector: Detector
    name: str
    frames: int
    film: Path | None = None

    def observe(self, number: int, frame: Frame) -> Observation:
        """Run the model on a frame; a recording shows its own frame of that number."""
        if isinstance(self.detector.backend, ReplayBackend):
            self.detector.backend.seek(number)
        return self.detector.observe(frame)

    def pictures(self) -> Iterator[Frame]:
        """The recorded pictures; raises ConfigError where there are none."""
        for number, recorded in enumerate(Reader(self.film) if self.film else ()):
            if recorded.picture is None:
                raise ConfigError(f"--images: expected pictures: {self.film} has none of its own")
            kind, data = recorded.picture
            yield Frame(pictures.decode(data, kind), name=f"frame {number}")


def open_side(
    settings: config.Model, chip: config.Backend, inputs: Sequence[TensorSpec], scratch: Path
) -> Side:
    """Open a model or a recording.

    `inputs` are those of the model whose outputs a plain .npz holds, which does not say; `scratch`
    is a folder for it, as a recording.  Raises ModelError, ConfigError, BackendUnavailable.
    """
    path = Path(settings.path) if settings.path else None
    name = str(path or "bundled")
    film = path if path and path.suffix.lower() == ".mcap" else None
    if film:
        written = scratch / f"{film.stem}.npz"
        export(Reader(film), written)  # and a manifest beside it
        settings = msgspec.structs.replace(settings, path=str(written))
    elif path and path.suffix.lower() == ".npz" and is_plain(path):
        beside = manifest.beside(path)
        written = scratch / path.name
        as_recording(path, inputs, written)
        found = settings.manifest or (str(beside) if beside.is_file() else None)
        settings = msgspec.structs.replace(settings, path=str(written), manifest=found)
    files = read_model(settings)
    detector = Detector(files, settings, chip)
    frames = 0
    if isinstance(detector.backend, ReplayBackend):
        frames = detector.backend.frames
    return Side(detector, name, frames, film)


def is_plain(path: Path) -> bool:
    """Whether an .npz is outputs by name alone, not a recording of npud's."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "spec.npy" not in archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"model {path}: expected an .npz of outputs: {error}") from None


def as_recording(path: Path, inputs: Sequence[TensorSpec], target: Path) -> None:
    """Write a plain .npz, arrays [frames, …] of real values by name, as a recording."""
    if not inputs:
        raise ConfigError(
            f"{path}: expected --size, the model's input as WIDTHxHEIGHT: an .npz does not say it"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"model {path}: expected an .npz of outputs: {error}") from None
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.float16, np.float64) or array.ndim < 3:
            raise ModelError(
                f"model {path}: {name}: expected floats [frames, …] of three or more dimensions, "
                f"got {list(array.shape)} {array.dtype}; quantized outputs need a recording of "
                "npud's, which has their scales"
            )
    counts = {len(array) for array in arrays.values()}
    if len(counts) != 1:
        raise ModelError(f"model {path}: expected as many frames of each output, got {counts}")
    floats = {name: _narrow(array) for name, array in arrays.items()}
    outputs = [TensorSpec(n, (1, *a.shape[1:]), a.dtype) for n, a in floats.items()]
    frames = ([a[k : k + 1] for a in floats.values()] for k in range(counts.pop()))
    recording.save(target, inputs, outputs, frames)


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float64 else array
