"""What benchmarks/pipeline.py puts in the place of a camera and an NPU: the rest is measured.

`python -m benchmarks.pipeline_parts CONFIG` is `npud run --config CONFIG` with them: a camera that
hands out pictures from a driver's buffer, and an NPU that takes a fixed time and no CPU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from numpy.typing import NDArray

from benchmarks import heads
from npud.errors import SourceError
from postprocess.tensor import Quantization, TensorSpec
from runtime import config, service, sources
from runtime.backends.replay import ReplayBackend
from runtime.frame import Frame
from runtime.input_spec import InputSpec
from runtime.models import recording
from runtime.preprocess import Preprocessor
from runtime.scenes import Street
from runtime.sources.base import SourceOptions
from runtime.validate import load_toml

INFERENCE_S = 0.010
SIZE = (1920, 1080)
PICTURES = 3  # taken in turns, as a driver's buffers are


class Npu(ReplayBackend):
    """Recorded outputs, after the time that an NPU would take."""

    def infer(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Wait, without the CPU and without the GIL, and return the next outputs."""
        time.sleep(INFERENCE_S)
        return super().infer(tensors)


class Still:
    """A live camera, `synthetic:still?fps=30&format=nv12`: no decoding, no work of its own."""

    live = True

    def __init__(self, url: str, options: SourceOptions) -> None:
        query = parse_qs(url.partition("?")[2])
        self.fps = float(query["fps"][0])
        self._format = query["format"][0]
        self._pictures = [picture(number, self._format) for number in range(PICTURES)]
        self._due = time.monotonic()
        self._count = 0

    def read(self) -> Frame:
        """Wait for the next exposure; one that was slept through is lost, as with a real sensor."""
        if not self.fps:
            raise SourceError("a camera without a rate")
        self._due += 1 / self.fps
        now = time.monotonic()
        if self._due < now:
            self._due = now
        time.sleep(self._due - now)
        self._count += 1
        pixels = self._pictures[self._count % PICTURES][:]  # a view: the driver's buffer
        return Frame(pixels, captured_ns=time.time_ns(), format=self._format)  # type: ignore[arg-type]

    def close(self) -> None:
        """Nothing is held open."""


def picture(number: int, kind: str) -> NDArray[np.uint8]:
    """A 1080p frame of the street, (1080, 1920, 3) BGR or (1620, 1920) NV12."""
    pixels, _ = Street(7, SIZE).frame(30 * number)
    if kind == "bgr":
        return pixels
    spec = InputSpec((SIZE[1], SIZE[0]), color="nv12", dtype=np.dtype(np.uint8), std=(1, 1, 1))
    tensor, _ = Preprocessor(spec)(Frame(pixels))
    return tensor[0].copy()


def write_model(folder: Path, color: str) -> Path:
    """A recording in place of a model: case R, dfl, NCHW int8 as an .rknn gives it; 80 classes."""
    shape, layout = ((1, 960, 640), "nv12") if color == "nv12" else ((1, 640, 640, 3), "nhwc")
    picture_in = TensorSpec("images", shape, np.dtype(np.uint8), layout)  # type: ignore[arg-type]
    tensors, specs, outputs = heads.tensors("R"), [], []
    for level, (grid, stride) in enumerate(heads.GRIDS):
        for role, channels in (("box", 4 * heads.BINS), ("prob", heads.CLASSES)):
            scale, zero = heads.BOX if role == "box" else heads.PROBABILITY
            grid_of = Quantization(np.float32(scale), np.int32(zero))  # type: ignore[arg-type]
            dims = (1, channels, grid, grid)
            specs.append(TensorSpec(f"{role}_{stride}", dims, np.dtype(np.int8), "nchw", grid_of))
            outputs.append(tensors[f"nchw_{role}_i8_{level}"].reshape(dims))
    path = folder / f"{color}.npz"
    recording.save(path, [picture_in], specs, [outputs])
    path.with_suffix(".toml").write_text('activation = "probabilities"\n')
    return path


def main() -> None:
    """Run the daemon."""
    sources.SOURCES["synthetic"] = "benchmarks.pipeline_parts:Still"

    def read() -> config.Config:
        return config.parse(load_toml(Path(sys.argv[1])))

    service.run(read(), reread=read)


if __name__ == "__main__":
    main()
