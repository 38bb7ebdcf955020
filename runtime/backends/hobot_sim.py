"""Backend `hobot-sim`: a .bin that npud convert made, in D-Robotics' toolchain on a PC.

Its quantized ONNX, which convert keeps, is run by the vendor's runtime; measured: the same integers
as the vendor's simulator of the BPU's instructions.  The input is NV12, as on the board; the BPU
repeats each chroma sample over its four pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import ModelError
from postprocess.tensor import TensorSpec
from runtime.backends.base import BackendOptions
from runtime.backends.simulator import Simulator
from runtime.models import hobot as file_reader
from runtime.toolkits import drobotics, environment, record


class HobotSimBackend(Simulator):
    """A model in the vendor's runtime: NV12 in, outputs as the file has them."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        info = file_reader.read(path)
        if len(info.inputs) != 1 or info.input_size is None:
            raise ModelError(f"model {path}: expected one input, a picture, got {len(info.inputs)}")
        height, width = info.input_size
        shape = (1, height * 3 // 2, width)
        self.inputs = (TensorSpec(info.inputs[0].name, shape, np.dtype(np.uint8), "nv12"),)
        self.outputs = info.outputs
        made, folder = record.read(path, drobotics.NAME)
        quantized = folder / made.quantized
        record.check_digest(quantized, made.quantized_digest, f"it is not what {path} was made of")
        installed = environment.find(drobotics.toolkit())
        names = [spec.name for spec in self.outputs]
        self._start(
            path,
            lambda scratch: drobotics.Model(installed, quantized, names, scratch / "log.txt"),
        )

    @classmethod
    def probe(cls) -> str:
        """Say which toolchain would simulate."""
        return str(environment.find(drobotics.toolkit()).toolkit)

    def _feed(self, tensor: NDArray[Any]) -> NDArray[Any]:
        return yuv444_of_nv12(tensor[0])


def yuv444_of_nv12(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """NV12 (H·3/2, W) -> (1, H, W, 3) Y, U, V: chroma repeated over 2×2 pixels."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    chroma = picture[height:].reshape(height // 2, width // 2, 2)
    wide = chroma.repeat(2, axis=0).repeat(2, axis=1)
    return np.concatenate([picture[:height, :, None], wide], axis=2)[None]
