"""ModelInfo: what a model file says about itself, in one shape for every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from postprocess.tensor import Quantization, TensorSpec


@dataclass(frozen=True)
class OutputOrigin:
    """The operation an output comes from, looking through reshapes, and how that is known.

    `parts` is the number of tensors that were concatenated into it, 1 where none were.
    """

    op: str
    evidence: str
    parts: int = 1


@dataclass(frozen=True)
class Versions:
    """Version texts as they stand in the file, "" where it has none.

    `format` is the file format's own version, `toolkit` the vendor's converter (for ONNX the
    exporter), `compiler` the part of it that made the machine code, `runtime` the library on the
    board that the code was made for, `opset` the ONNX operator set.
    """

    format: str = ""
    toolkit: str = ""
    compiler: str = ""
    runtime: str = ""
    opset: str = ""


@dataclass(frozen=True)
class Pixels:
    """How pixels reach the network through one input, as far as the file says.

    `feed` is what the caller hands over ("rgb", "bgr", "nv12", …), `color` the channel order that
    the network was trained with.  The network gets (pixel - mean) / std per channel, pixels being
    0..255; both are empty where the file leaves scaling to the caller, and applied by the board's
    runtime otherwise.
    """

    feed: str = ""
    color: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Grid:
    """The numbers a tensor can hold: its stored type, scale and zero point, calibrated range.

    Also given for outputs that the file dequantizes itself, whose TensorSpec is float32.
    """

    dtype: np.dtype[np.generic]
    quantization: Quantization
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class ModelInfo:
    """Facts read from the file itself; what it does not say is empty or None.

    `input_size` is (height, width) in pixels.  `target` is the chip in the vendor's word ("rk3588",
    "bayes-e").  `calibration` says how the quantization ranges were found, in the vendor's word.  A
    dynamic dimension of an input or output is 0.  `origins`, `pixels` and `grids` are keyed by the
    tensor's name.  `operations` counts the graph's operations, and "SiLU" (x · σ(x)) besides
    its parts; it is empty where the file does not show them.
    """

    format: str
    labels: tuple[str, ...] = ()
    input_size: tuple[int, int] | None = None
    origins: Mapping[str, OutputOrigin] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    target: str = ""
    versions: Versions = Versions()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    pixels: Mapping[str, Pixels] = field(default_factory=dict)
    grids: Mapping[str, Grid] = field(default_factory=dict)
    calibration: str = ""
    operations: Mapping[str, int] = field(default_factory=dict)

    @property
    def picture(self) -> TensorSpec | None:
        """The first input that holds a picture (4 dimensions, 3 channels), if any."""
        return next((spec for spec in self.inputs if picture_size(spec) is not None), None)


def picture_size(spec: TensorSpec) -> tuple[int, int] | None:
    """(height, width) in pixels of a [1,3,H,W] or [1,H,W,3] tensor, else None; dynamic is 0."""
    if len(spec.shape) != 4:
        return None
    if spec.layout != "nhwc" and spec.shape[1] == 3:
        return spec.shape[2], spec.shape[3]
    if spec.layout != "nchw" and spec.shape[3] == 3:
        return spec.shape[1], spec.shape[2]
    return None
