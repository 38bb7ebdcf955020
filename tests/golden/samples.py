"""Golden samples and models that are broken on purpose, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from postprocess.tensor import TensorSpec
from runtime import bundled, config
from runtime.detector import Detector, read_model
from runtime.models import recording
from runtime.models.manifest import Golden

LIMITS = Golden(image="-", reference="-")
STREET = bundled.MODEL.with_suffix(".toml").read_text().partition("# Street(")[0]
GOLDEN = """
[golden]
image = "street.golden.png"
reference = "street.golden.npz"
"""


def detector(path: Path | None = None, **model: Any) -> Detector:
    settings = config.Model(path=str(path) if path else None, **model)
    return Detector(read_model(settings), settings, config.Backend(threads=1))


def broken(folder: Path, change: Callable[[str, np.ndarray], np.ndarray], stem: str = "m") -> Path:
    """The bundled model with other weights: change(name of the output of the Conv, bias)."""
    model = onnx.load(str(bundled.MODEL))
    biases = {node.input[2]: node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    for tensor in model.graph.initializer:
        if tensor.name in biases:
            array = change(biases[tensor.name], numpy_helper.to_array(tensor).copy())
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    path = folder / f"{stem}.onnx"
    onnx.save(model, str(path))
    return path


def with_golden(model: Path, manifest: str = STREET) -> Path:
    """Put the bundled golden sample and a manifest beside a model."""
    for name in ("street.golden.png", "street.golden.npz"):
        (model.parent / name).write_bytes(bundled.MODEL.with_name(name).read_bytes())
    model.with_suffix(".toml").write_text(manifest + GOLDEN)
    return model


def recorded(
    path: Path, outputs: Sequence[tuple[str, np.ndarray]], layout: str, manifest: str
) -> Detector:
    """A recording of NHWC or NCHW outputs, as the model that runs."""
    specs = [TensorSpec(name, array.shape, array.dtype, layout) for name, array in outputs]
    image = TensorSpec("images", (1, 960, 640), np.dtype(np.uint8), "nv12")
    recording.save(path, [image], specs, [[array for _, array in outputs]])
    path.with_suffix(".toml").write_text(manifest)
    return detector(path)
