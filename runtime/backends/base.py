"""Backend: what runs a model, whatever the chip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from postprocess.tensor import TensorSpec


@dataclass(frozen=True)
class BackendOptions:
    """What the config and manifest ask of a backend.

    input_size: (height, width) for models whose input size is dynamic; threads: CPU threads per
    inference, 0 for one per core.
    """

    input_size: tuple[int, int] | None = None
    threads: int = 0


class Backend(Protocol):
    """A loaded model.  No decoding, no thresholds, no resizing: tensors in, tensors out.

    The constructor takes (path, options) and raises BackendUnavailable where a library or device is
    missing and ModelError where the file cannot be loaded.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __init__(self, path: Path, options: BackendOptions) -> None: ...

    def infer(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model; tensors as `inputs` says, results as `outputs` says.

        Raises InferenceError where they do not fit or the runtime fails, and after close().
        """
        ...

    def close(self) -> None:
        """Free the model; calling it twice is harmless."""
        ...
