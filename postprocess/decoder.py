"""make_decoder: from a HeadPlan to a callable that turns a frame's tensors into Detections.

What the numbers mean is defined in `postprocess.reference`; this module chooses who computes them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections
from npud.errors import ConfigError, ModelError
from postprocess.options import Options
from postprocess.plan import HeadPlan
from postprocess.reference import ReferenceEngine
from postprocess.tensor import TensorSpec

__all__ = ["Decoder", "Options", "make_decoder"]

Kernels = Literal["auto", "native", "reference"]
KERNELS_ENV = "NPUD_KERNELS"
MAX_CLASSES = 4095  # a candidate's sort key has 12 bits for its class …
MAX_CELLS = 1 << 20  # … and 20 bits for its cell


class Engine(Protocol):
    """What computes: `decode` fills the three arrays and returns how many detections it wrote."""

    name: str

    @property
    def nonfinite(self) -> int:
        """Candidates dropped so far because their box was not finite."""
        ...

    def decode(
        self,
        tensors: Sequence[NDArray[Any]],
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        class_ids: NDArray[np.int32],
    ) -> int:
        """Decode one frame into boxes (M, 4), scores (M,), class_ids (M,); raise ValueError."""
        ...


class Decoder:
    """Decodes the output tensors of one model; safe to call from several threads.

    `nonfinite` counts candidates dropped because their box was NaN or infinite.  `kernels` names
    what computes ("reference", or the variant of the native kernels).
    """

    def __init__(
        self, plan: HeadPlan, specs: Sequence[TensorSpec], options: Options, engine: Engine
    ) -> None:
        self.plan = plan
        self.options = options
        self._specs = tuple(specs)
        self._engine = engine

    @property
    def kernels(self) -> str:
        """Name of what computes."""
        return self._engine.name

    @property
    def nonfinite(self) -> int:
        """Candidates dropped so far because their box was NaN or infinite."""
        return self._engine.nonfinite

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Detections:
        """Decode one frame: boxes in model-input pixels, unclipped, best score first.

        `tensors` are C-contiguous and aligned, in the order, shapes and dtypes of the specs.
        Raises ModelError naming the tensor, what was expected and what came.
        """
        limit = min(self.options.max_detections, self.plan.cells)
        boxes = np.empty((limit, 4), np.float32)
        scores = np.empty(limit, np.float32)
        class_ids = np.empty(limit, np.int32)
        try:
            count = self._engine.decode(tensors, boxes, scores, class_ids)
        except (ValueError, TypeError, BufferError):
            self._explain(tensors)
            raise
        return Detections(boxes[:count], scores[:count], class_ids[:count])

    def _explain(self, tensors: Sequence[NDArray[Any]]) -> None:
        """Raise the ModelError that says which tensor does not fit."""
        if len(tensors) != len(self._specs):
            raise ModelError(f"expected {len(self._specs)} output tensors, got {len(tensors)}")
        for spec, tensor in zip(self._specs, tensors):
            expected = f'output "{spec.name}" expected {spec.shape} {spec.dtype.name}'
            if not isinstance(tensor, np.ndarray):
                raise ModelError(f"{expected}, got {type(tensor).__name__}")
            if tensor.shape != spec.shape or tensor.dtype != spec.dtype:
                raise ModelError(f"{expected}, got {tensor.shape} {tensor.dtype.name}")
            if not tensor.flags.c_contiguous:
                raise ModelError(f"{expected} C-contiguous, got strides {tensor.strides}")
            if not tensor.flags.aligned:
                raise ModelError(
                    f"{expected} aligned to {tensor.itemsize} bytes, got an odd address"
                )


def make_decoder(
    plan: HeadPlan,
    outputs: Sequence[TensorSpec],
    options: Options | None = None,
    kernels: str = "auto",
) -> Decoder:
    """Make the decoder for `plan` on tensors like `outputs`.

    `kernels` is "auto", "native" or "reference"; the environment variable NPUD_KERNELS replaces
    "auto".  Raises ConfigError for an unknown choice, ModelError for tensors no kernel can read.
    """
    options = options or Options()
    _check_readable(plan, outputs)
    choice = _choose(kernels)
    if choice == "reference":
        engine: Engine = ReferenceEngine(plan, outputs, options)
    else:
        engine = _native_engine(plan, outputs, options)
    return Decoder(plan, outputs, options, engine)


def _choose(kernels: str) -> str:
    source = "kernels"
    if kernels == "auto":
        kernels, source = os.environ.get(KERNELS_ENV, "auto"), KERNELS_ENV
    if kernels not in get_args(Kernels):
        raise ConfigError(f'{source}: expected "auto", "native" or "reference", got {kernels!r}')
    return kernels


def _native_engine(plan: HeadPlan, outputs: Sequence[TensorSpec], options: Options) -> Engine:
    try:
        from postprocess.native import NativeEngine
    except ImportError as error:
        raise ConfigError(
            f'kernels: the C extension cannot be loaded ({error}); build it with "make build", or '
            f"set {KERNELS_ENV}=reference (slow)"
        ) from error
    return NativeEngine(plan, outputs, options)


def _check_readable(plan: HeadPlan, outputs: Sequence[TensorSpec]) -> None:
    for spec in outputs:
        if spec.dtype != np.float32:
            raise ModelError(f"output {spec}: expected float32, the only type decoded so far")
    if plan.cells > MAX_CELLS:
        raise ModelError(f"expected at most {MAX_CELLS} cells, the model has {plan.cells}")
    if plan.num_classes > MAX_CLASSES:
        raise ModelError(f"expected at most {MAX_CLASSES} classes, got {plan.num_classes}")
