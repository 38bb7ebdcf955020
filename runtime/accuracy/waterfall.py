"""The accuracy waterfall: what each step from the float model to the deployed way costs.

Each step replaces one part of the step before:

    float            float model, pre-processing by OpenCV, decoding by NumPy with the exact sigmoid
    pre-processing   the picture as the deployed model gets it: the C kernels, its letterbox and
                     padding; where it takes NV12, the way there and back as a BPU computes it
    quantized        the deployed model
    NPU sigmoid      its variant with the sigmoid in the graph
    post-processing  decoding by the C kernels, as configured

Colour order, mean and std are the float model's in the second step: what the deployed model is fed
otherwise shows in the third.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections
from npud.errors import ConfigError
from postprocess.decoder import Decoder, make_decoder
from runtime.accuracy.metrics import Figures
from runtime.detector import Detector, Timing
from runtime.frame import Frame
from runtime.input_spec import InputSpec, Letterbox, bgr_of_yuv
from runtime.preprocess import Preprocessor
from runtime.preprocess_reference import elements

Prepare = Callable[[Frame], tuple[NDArray[Any], Letterbox]]
STEPS = {
    "float": "float model, reference",
    "preprocessing": "deployed pre-processing",
    "quantized": "quantized model",
    "npu_sigmoid": "sigmoid on the NPU",
    "postprocessing": "our post-processing",
}


@dataclass(frozen=True)
class Row:
    """A step with its figures; None where its model was not given."""

    step: str
    model: str
    figures: Figures | None

    @property
    def title(self) -> str:
        """What the step is, in words."""
        return STEPS[self.step]


class Outputs:
    """A model's outputs for a frame, inferred once for several decoders."""

    def __init__(self, prepare: Prepare, detector: Detector) -> None:
        self._prepare = prepare
        self._backend = detector.backend
        self._last: tuple[Frame, list[NDArray[Any]], Letterbox] | None = None

    def of(self, frame: Frame) -> tuple[list[NDArray[Any]], Letterbox]:
        """Outputs, good until another frame or another use of the model, and how it was fitted."""
        if self._last is None or self._last[0] is not frame:
            tensor, letterbox = self._prepare(frame)
            self._last = frame, self._backend.infer([np.ascontiguousarray(tensor)]), letterbox
        return self._last[1], self._last[2]


@dataclass(frozen=True, eq=False)
class Chain:
    """Outputs and a decoder; a Finder of runtime.accuracy.evaluate."""

    outputs: Outputs
    decode: Decoder

    def detect(self, frame: Frame) -> tuple[Detections, Timing]:
        """Find objects, boxes in source pixels; the time is all one."""
        start = time.perf_counter_ns()
        outputs, letterbox = self.outputs.of(frame)
        found = letterbox.to_source(self.decode(outputs))
        return found, Timing(0, (time.perf_counter_ns() - start) // 1000, 0)


def chains(
    deployed: Detector, float_model: Detector | None, variant: Detector | None
) -> dict[str, tuple[Detector, Chain]]:
    """The steps that can be made of the models given; raises ConfigError where they do not fit."""
    steps: dict[str, tuple[Detector, Chain]] = {}
    if float_model is not None:
        decode = _decoder(float_model, "reference")
        for step, prepare in (
            ("float", Preprocessor(float_model.input, kernels="reference")),
            ("preprocessing", as_deployed(float_model.input, deployed.input)),
        ):
            steps[step] = (float_model, Chain(Outputs(prepare, float_model), decode))
    last = deployed
    outputs = Outputs(Preprocessor(deployed.input), deployed)
    steps["quantized"] = (deployed, Chain(outputs, _decoder(deployed, "reference")))
    if variant is not None:
        last = variant
        outputs = Outputs(Preprocessor(variant.input), variant)
        steps["npu_sigmoid"] = (variant, Chain(outputs, _decoder(variant, "reference")))
    steps["postprocessing"] = (last, Chain(outputs, _decoder(last, "auto")))
    return steps


def _decoder(detector: Detector, kernels: str) -> Decoder:
    options = detector.options
    if kernels == "reference" and options.sigmoid != "none":
        options = dataclasses.replace(options, sigmoid="exact")
    return make_decoder(detector.plan, detector.backend.outputs, options, kernels)


def as_deployed(wanted: InputSpec, deployed: InputSpec) -> Prepare:
    """Pictures as the deployed model gets them, in the form that the float model takes.

    The values differ from the float model's own by what the deployed way does to them: scaling,
    fitting, padding, and for NV12 half-size chroma; a BPU repeats it over 2×2 pixels and computes
    RGB by the full-range matrix, unrounded.
    """
    if wanted.size != deployed.size:
        sizes = " and ".join(f"{w}x{h}" for h, w in (wanted.size, deployed.size))
        raise ConfigError(f"--float: expected a model with the deployed one's input, got {sizes}")
    if wanted.color == "nv12":
        raise ConfigError("--float: expected a model that takes RGB or BGR, got one of NV12")
    spec = deployed
    if deployed.color != "nv12":
        spec = dataclasses.replace(
            deployed,
            layout="nhwc",
            dtype=np.dtype(np.uint8),
            color=wanted.color,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            quantization=None,
        )
    preprocess = Preprocessor(spec)

    def prepare(frame: Frame) -> tuple[NDArray[Any], Letterbox]:
        tensor, letterbox = preprocess(frame)
        pixels: NDArray[Any] = tensor[0]
        if spec.color == "nv12":
            bgr = seen_by_bpu(pixels)
            pixels = bgr if wanted.color == "bgr" else bgr[..., ::-1]
        values = elements(wanted, pixels)
        if wanted.layout == "nchw":
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values[None]), letterbox

    return prepare


def seen_by_bpu(nv12: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H·3/2, W) NV12 as the (H, W, 3) BGR that a BPU computes of it."""
    height, width = nv12.shape[0] * 2 // 3, nv12.shape[1]
    halves = nv12[height:].reshape(height // 2, width // 2, 2)
    chroma = halves.repeat(2, axis=0).repeat(2, axis=1)
    yuv = np.dstack([nv12[:height], chroma]).astype(np.float32)
    matrix = bgr_of_yuv("full").astype(np.float32)
    bgr: NDArray[np.float32] = yuv @ matrix[:, :3].T + matrix[:, 3]
    return bgr


@dataclass(frozen=True)
class Loss:
    """Figures of a step less those of the step before, None where one of both has none."""

    map50_95: float | None
    map50: float | None
    f1: float | None


NO_LOSS = Loss(None, None, None)


def losses(rows: Sequence[Row]) -> list[Loss | None]:
    """What each step costs against the last one given; None for the first and what is not."""
    result: list[Loss | None] = []
    before: Figures | None = None
    for row in rows:
        now = row.figures
        if now is None or before is None:
            result.append(None)
        else:
            result.append(
                Loss(
                    _less(now.map50_95, before.map50_95),
                    _less(now.map50, before.map50),
                    _less(now.deployed.f1, before.deployed.f1),
                )
            )
        before = now or before
    return result


def _less(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before
