"""What a runtime says of a model's outputs, held against what the file itself says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from postprocess.tensor import TensorSpec


def difference(outputs: Sequence[TensorSpec], file: Sequence[TensorSpec]) -> str:
    """Where the runtime says something else than the file, in words; "" if nowhere."""
    known = {spec.name: spec for spec in file}
    if {spec.name for spec in outputs} != set(known):
        got = ", ".join(repr(spec.name) for spec in outputs) or "none"
        return f"expected outputs {', '.join(known)}, as the file says, got {got}"
    for spec in outputs:
        expected = known[spec.name]
        if (spec.shape, spec.dtype) != (expected.shape, expected.dtype):
            got = f"{list(spec.shape)} {spec.dtype}"
            return f"expected output {expected}, as the file says, got {got}"
        ours, theirs = _scales(spec), _scales(expected)
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, 1e-3):
            shown = (f"{s.size} up to {s.max(initial=0):.4g}" for s in (theirs, ours))
            return f"output {spec.name}: expected scales {' in the file, got '.join(shown)}"
    return ""


def _scales(spec: TensorSpec) -> NDArray[np.float32]:
    scale = spec.quantization.scale if spec.quantization else np.zeros(0, np.float32)
    return scale.reshape(-1)
