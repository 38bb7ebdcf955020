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
from postprocess.lint import check_readable
from postprocess.options import Options
from postprocess.plan import HeadPlan
from postprocess.reference import ReferenceEngine
from postprocess.tensor import TensorSpec, has_strides

__all__ = ["Decoder", "Options", "make_decoder"]

Kernels = Literal["auto", "native", "avx2", "neon", "scalar", "reference"]
KERNELS_ENV = "NPUD_KERNELS"


class Engine(Protocol):
    """What computes: `decode` fills the three arrays and returns how many detections it wrote."""

    name: str

    @property
    def nonfinite(self) -> int:
        """Candidates dropped so far because their box was not finite."""
        ...

    @property
    def contradictions(self) -> int:
        """Frames so far with a probability that cannot be one."""
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

    `nonfinite` counts candidates dropped because their box was NaN or infinite.  `contradictions`
    counts frames whose best detection has a "probability" outside of [-0.01, 1.01]: the plan's
    activation is wrong then; it is never switched.  `kernels` names what computes ("reference", or
    the variant of the native kernels).
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

    @property
    def contradictions(self) -> int:
        """Frames so far with a probability that cannot be one."""
        return self._engine.contradictions

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Detections:
        """Decode one frame: boxes in model-input pixels, unclipped, best score first.

        `tensors` are aligned, in the order, shapes, dtypes and strides of the specs.
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
            if not has_strides(tensor, spec):
                strides = tuple(stride * tensor.itemsize for stride in spec.element_strides)
                wanted = "C-contiguous" if spec.strides is None else f"with strides {strides}"
                raise ModelError(f"{expected} {wanted}, got strides {tensor.strides}")
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

    `kernels` is "auto" or "native" (the fastest C kernels this CPU can run), one of "avx2", "neon"
    and "scalar" (portable C), or "reference" (NumPy); the environment variable NPUD_KERNELS
    replaces "auto".  Raises ConfigError for an unknown choice, one that this CPU cannot run, or a
    sigmoid that contradicts the plan, ModelError for tensors that cannot be read.
    """
    options = options or Options()
    check_readable(plan, outputs, options)
    choice, source = _choose(kernels)
    if choice == "reference":
        engine: Engine = ReferenceEngine(plan, outputs, options)
    else:
        engine = _native_engine(plan, outputs, options, choice, source)
    return Decoder(plan, outputs, options, engine)


def _choose(kernels: str) -> tuple[str, str]:
    """The choice, and where it was made."""
    source = "kernels"
    if kernels == "auto":
        kernels, source = os.environ.get(KERNELS_ENV, "auto"), KERNELS_ENV
    if kernels not in get_args(Kernels):
        expected = ", ".join(f'"{name}"' for name in get_args(Kernels))
        raise ConfigError(f"{source}: expected one of {expected}, got {kernels!r}")
    return kernels, source


def _native_engine(
    plan: HeadPlan, outputs: Sequence[TensorSpec], options: Options, kernels: str, source: str
) -> Engine:
    try:
        from postprocess import _native
        from postprocess.native import NativeEngine
    except ImportError as error:
        raise ConfigError(
            f'kernels: the C extension cannot be loaded ({error}); build it with "make build", or '
            f"set {KERNELS_ENV}=reference (slow)"
        ) from error
    if kernels in ("auto", "native"):
        kernels = "auto"
    elif kernels not in _native.variants():
        able = " and ".join(f'"{name}"' for name in (*_native.variants(), "reference"))
        raise ConfigError(f'{source}: "{kernels}" does not run on this CPU, only {able}')
    return NativeEngine(plan, outputs, options, kernels)
