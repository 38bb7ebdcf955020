"""Backend: what runs a model, whatever the chip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from npud.errors import InferenceError
from postprocess.tensor import TensorSpec
from runtime.simulate.options import Simulate

VersionCheck = Literal["refuse", "warn"]


@dataclass(frozen=True)
class BackendOptions:
    """What the config and manifest ask of a backend.

    input_size: (height, width) for models whose input size is dynamic; threads: CPU threads per
    inference, 0 for one per core; core: index of the NPU core to run on, modulo the cores there
    are, None for the runtime's own choice; native_layout: librknnrt's outputs as NC1HWC2; priority
    and core_id: the RDK's (see the config); version_check: whether a model or driver that cannot
    fit is refused or warned of; simulate: backend onnx's numerics of an NPU.
    """

    input_size: tuple[int, int] | None = None
    threads: int = 0
    core: int | None = None
    native_layout: bool = False
    priority: int = 0
    core_id: int = 0
    version_check: VersionCheck = "refuse"
    simulate: Simulate = Simulate()  # noqa: RUF009 - frozen


class Backend(Protocol):
    """A loaded model.  No decoding, no thresholds, no resizing: tensors in, tensors out.

    The constructor takes (path, options) and raises BackendUnavailable where a library or device is
    missing and ModelError where the file cannot be loaded.  One object is for one thread at a time.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __init__(self, path: Path, options: BackendOptions) -> None: ...

    @classmethod
    def probe(cls) -> str:
        """Say what it would run with, e.g. "librknnrt 2.3.2"; raises BackendUnavailable."""
        ...

    def infer(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model; C-contiguous tensors as `inputs` says, results as `outputs` says.

        The results may be views of the backend's own buffers: they are valid until the next infer()
        or close().  Raises InferenceError where tensors do not fit or the runtime fails, and after
        close().
        """
        ...

    def duplicate(self, core: int | None = None) -> Backend:
        """Make another context on the same weights, for another thread, on the given NPU core.

        Each is closed on its own, in any order.  Raises InferenceError.
        """
        ...

    def close(self) -> None:
        """Free the model; calling it twice is harmless."""
        ...


def check_inputs(
    path: Path, specs: Sequence[TensorSpec], tensors: Sequence[NDArray[Any]] | None
) -> None:
    """Raise InferenceError unless `tensors` are what a runtime may be handed for `specs`.

    Bindings read memory as it lies: a wrong shape, type or stride gives wrong detections there, not
    an error.
    """
    if len(tensors or ()) != len(specs) or tensors is None:
        raise InferenceError(
            f"model {path}: expected {len(specs)} inputs, got {len(tensors or ())}"
        )
    for spec, tensor in zip(specs, tensors):
        if not isinstance(tensor, np.ndarray):
            got = type(tensor).__name__
        elif tensor.shape != spec.shape or tensor.dtype != spec.dtype:
            got = f"{list(tensor.shape)} {tensor.dtype}"
        elif not (tensor.flags.c_contiguous and tensor.flags.aligned):
            got = f"one that is not C-contiguous, strides {list(tensor.strides)}"
        else:
            continue
        raise InferenceError(f"model {path}: expected input {spec}, got {got}")
