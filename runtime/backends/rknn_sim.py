"""Backend `rknn-sim`: an .rknn that npud convert made, in rknn-toolkit2's simulator on a PC.

The simulator only runs what was built in its process, so the model is built again from its source,
in a few seconds.  What comes out lies on the file's own grid, or is refused; it is handed over as
librknnrt does, int8 or float16.  It does not stand for a board in all: the NPU's own sigmoid, for
one, is less exact than the simulator's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npud.errors import BackendUnavailable, ModelError
from postprocess.tensor import TensorSpec
from runtime.backends.base import BackendOptions
from runtime.backends.simulator import Simulator
from runtime.models import rknn as file_reader
from runtime.toolkits import environment, record, rockchip
from runtime.toolkits.job import Job


class RknnSimBackend(Simulator):
    """A model in the toolkit's simulator: bytes in, NHWC; outputs as the file has them."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        info = file_reader.read(path)
        if len(info.inputs) != 1:
            raise ModelError(f"model {path}: expected one input, a picture, got {len(info.inputs)}")
        (picture,) = info.inputs
        self.inputs = (TensorSpec(picture.name, picture.shape, np.dtype(np.uint8), "nhwc"),)
        self.outputs = info.outputs
        made, folder = record.read(path, rockchip.NAME)
        job = Job(
            source=record.source_of(path, made, folder),
            input_name=made.input_name,
            target=made.target,
            quantization=made.quantization,
            color=made.color,
            mean=made.mean,
            std=made.std,
            settings=made.settings,
            pictures=record.pictures_of(made, folder),
            output=None,
            folder=folder,
        )
        installed = environment.find(rockchip.toolkit(made.toolkit_version))
        self._start(path, lambda scratch: rockchip.Model(installed, job, scratch / "log.txt"))

    @classmethod
    def probe(cls) -> str:
        """Say which toolkit would simulate."""
        for version in rockchip.VERSIONS:
            try:
                return str(environment.find(rockchip.toolkit(version)).toolkit)
            except BackendUnavailable:
                continue
        return str(environment.find(rockchip.toolkit()).toolkit)
