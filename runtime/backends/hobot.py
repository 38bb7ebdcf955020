"""Backend `hobot`: the BPU of the RDK X5 through D-Robotics' Python binding, pyeasy_dnn.

What the binding does (measured, docs/faults.md): it holds the GIL during an inference and never
frees a model; input that is short, strided or no array runs on what its buffer held before; errors
come as SystemError with the reason as __cause__; `validShape` and `alignedShape` are garbage.
"""

from __future__ import annotations

import copy
import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import BackendUnavailable, InferenceError, ModelError, NpudError
from postprocess.tensor import Layout, Quantization, TensorSpec
from runtime import compat
from runtime.backends.against_file import difference
from runtime.backends.base import BackendOptions, check_inputs
from runtime.backends.guard import OutputGuard
from runtime.models import hobot as file_reader
from runtime.models.bounds import MAX_DIMENSIONS

PACKAGES = ("hobot_dnn", "hobot_dnn_rdkx5")  # the board image's, PyPI's
NV12 = ("NV12", "NV12_SEPARATE")  # one buffer is passed for both
LAYOUTS: dict[str, Layout] = {"NHWC": "nhwc", "NCHW": "nchw"}


def import_binding() -> Any:
    """The module pyeasy_dnn; raises BackendUnavailable with what to do."""
    if int(np.__version__.partition(".")[0]) > 1:  # importing it would print a page and fail
        raise BackendUnavailable(
            f"backend hobot: expected numpy 1, which pyeasy_dnn is built for, got {np.__version__}"
            "; remedy: pip install 'npud[rdk]'"
        )
    reasons = []
    for package in PACKAGES:
        try:
            return importlib.import_module(f"{package}.pyeasy_dnn")
        except ModuleNotFoundError:
            continue
        except Exception as error:  # it is there, but a library that it needs is not
            reasons.append(str(error))
    reason = "; ".join(reasons) or f"neither {' nor '.join(PACKAGES)} is installed"
    raise BackendUnavailable(
        f"backend hobot: expected pyeasy_dnn on an RDK X5, got: {reason}; "
        "remedy: pip install 'npud[rdk]' with the image's Python 3.10 (docs/boards.md)"
    )


class HobotBackend:
    """A model on the BPU: NV12 in, outputs as they are, int32 ones with a scale per channel."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        self._path = path
        info = file_reader.read(path)
        compat.enforce(path, info, options.version_check)
        binding = import_binding()
        models = self._call(ModelError, "load", binding.load, str(path))
        if len(models) != 1:
            raise ModelError(f"model {path}: expected one model in the file, got {len(models)}")
        self._model: Any = models[0]
        self._lock = threading.Lock()  # shared by duplicates: one input buffer for all
        self._arguments = {"core_id": options.core_id, "priority": options.priority}
        self.inputs, self.outputs = self._call(ModelError, "properties", self._specs)
        if (differs := difference(self.outputs, info.outputs)) or len(self.inputs) != 1:
            differs = differs or f"expected one input, a picture, got {len(self.inputs)}"
            raise ModelError(f"model {path}: {differs}")
        self._guard = OutputGuard(path, self.inputs, self.outputs)

    @classmethod
    def probe(cls) -> str:
        """Say which binding it is."""
        return str(import_binding().__spec__.name)

    def infer(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model on one NV12 picture that fits `inputs`."""
        if self._model is None:
            raise InferenceError(f"model {self._path}: the backend is closed")
        check_inputs(self._path, self.inputs, tensors)
        with self._lock:
            found = self._call(
                InferenceError, "forward", self._model.forward, list(tensors), **self._arguments
            )
            results: list[NDArray[Any]] = [tensor.buffer for tensor in found]  # a copy each time
        expected = [(spec.shape, spec.dtype) for spec in self.outputs]
        if [(result.shape, result.dtype) for result in results] != expected:
            said = ", ".join(map(str, self.outputs))
            got = ", ".join(f"{list(result.shape)} {result.dtype}" for result in results)
            raise InferenceError(f"model {self._path}: expected outputs {said}, got {got}")
        self._guard.check(tensors, results)
        return results

    def duplicate(self, core: int | None = None) -> HobotBackend:
        """Share the loaded model; the two take turns, as the GIL makes them anyway.

        Loading again would cost memory that the binding never gives back.  Only a process of its
        own adds throughput.  An X5 has one BPU core, so `core` changes nothing.
        """
        if self._model is None:
            raise InferenceError(f"model {self._path}: the backend is closed")
        twin = copy.copy(self)
        twin._guard = OutputGuard(self._path, self.inputs, self.outputs)
        return twin

    def close(self) -> None:
        """Forget the model.  The binding keeps its memory until the process ends."""
        self._model = None

    def _specs(self) -> list[tuple[TensorSpec, ...]]:
        inputs = tuple(_input(self._path, tensor) for tensor in self._model.inputs)
        return [inputs, tuple(_output(tensor) for tensor in self._model.outputs)]

    def _call(self, kind: type[Exception], name: str, call: Any, *args: Any, **options: Any) -> Any:
        try:
            result = call(*args, **options)
        except NpudError:
            raise
        except Exception as error:  # SystemError, mostly; the reason is below it
            reason = error.__cause__ or error
            raise kind(f"model {self._path}: pyeasy_dnn.{name} failed: {reason}") from None
        if not isinstance(result, list):
            raise kind(f"model {self._path}: pyeasy_dnn.{name}: expected a list, got {result!r}")
        return result


def _input(path: Path, tensor: Any) -> TensorSpec:
    properties = tensor.properties
    shape = properties.shape
    if properties.tensor_type not in NV12 or len(shape) != 4:
        raise ModelError(
            f"model {path}: input {tensor.name}: expected an NV12 picture, got "
            f"{properties.tensor_type} in {len(shape)} dimensions; "
            "remedy: convert it with input_type_rt: nv12"
        )
    height, width = shape[2:] if properties.layout == "NCHW" else shape[1:3]
    return TensorSpec(tensor.name, (1, height * 3 // 2, width), np.dtype(np.uint8), "nv12")


def _output(tensor: Any) -> TensorSpec:
    properties = tensor.properties
    shape = tuple(properties.shape[:MAX_DIMENSIONS])  # of any length where a query failed
    layout = LAYOUTS.get(properties.layout, "") if len(shape) == 4 else ""
    dtype, scale = np.dtype(properties.dtype), np.array(properties.scale_data, np.float32)
    quantization = None
    if dtype.kind in "iu" and scale.size == 1:
        quantization = Quantization.per_tensor(float(scale[0]))
    elif dtype.kind in "iu" and scale.size:  # floats are dequantized in the graph
        quantization = Quantization(scale, np.zeros(scale.size, np.int32))
    return TensorSpec(tensor.name, shape, dtype, layout, quantization)
