"""Backend `onnx`: onnxruntime on the CPU, the simulator that runs on any machine."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import BackendUnavailable, InferenceError, ModelError, NpudError
from postprocess.tensor import Layout, TensorSpec
from runtime.backends.base import BackendOptions, check_inputs
from runtime.models import describe
from runtime.simulate.grids import grids_for, quantize
from runtime.simulate.options import NOT_MODELLED

try:
    from runtime.ort import ort
except ImportError as error:
    raise BackendUnavailable(
        f"backend onnx: expected onnxruntime, got: {error}; remedy: pip install 'npud[sim]'"
    ) from None

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(double)": np.float64,
}
log = logging.getLogger("npud")
SILENT = 4  # onnxruntime's severity FATAL: what goes wrong comes as an exception


class OnnxBackend:
    """A model in an onnxruntime session."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        self._path = path
        self._simulate = options.simulate
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.log_severity_level = SILENT
        try:
            self._session = ort.InferenceSession(
                self._model(), settings, providers=["CPUExecutionProvider"]
            )
        except NpudError:
            raise
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            raise ModelError(f"model {path}: onnxruntime cannot load it: {_line(error)}") from None
        self.inputs = tuple(self._input(node, options) for node in self._session.get_inputs())
        self.outputs: tuple[TensorSpec, ...] = ()
        self.outputs = self._output_specs()
        if self._simulate.grids is not None:
            source = Path(self._simulate.grids)
            self.outputs = tuple(grids_for(source, describe(path), self.outputs))

    @classmethod
    def probe(cls) -> str:
        """Say which onnxruntime it is."""
        return f"onnxruntime {ort.__version__}"

    def infer(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model on tensors that fit `inputs`."""
        if self._session is None:
            raise InferenceError(f"model {self._path}: the backend is closed")
        check_inputs(self._path, self.inputs, tensors)
        feed = {spec.name: tensor for spec, tensor in zip(self.inputs, tensors)}
        try:
            results: list[NDArray[Any]] = self._session.run(None, feed)
        except Exception as error:  # see above
            raise InferenceError(f"model {self._path}: onnxruntime: {_line(error)}") from None
        if self._simulate.grids is not None:
            return [quantize(tensor, spec) for tensor, spec in zip(results, self.outputs)]
        return results

    def duplicate(self, core: int | None = None) -> OnnxBackend:
        """Share the session: onnxruntime's run() is thread-safe.  A CPU has no NPU core."""
        if self._session is None:
            raise InferenceError(f"model {self._path}: the backend is closed")
        return copy.copy(self)

    def close(self) -> None:
        """Free the session, once no duplicate is left."""
        self._session = None

    def _model(self) -> str | bytes:
        """What onnxruntime loads: the file, or the model in it with the numerics of an NPU."""
        if self._simulate.active:
            log.warning("simulating %s; not modelled: %s", self._simulate, NOT_MODELLED)
        if not self._simulate.changes_the_graph:
            return str(self._path)
        from runtime.simulate.numerics import emulated  # needs the package onnx

        return emulated(self._path, self._simulate)

    def _input(self, node: Any, options: BackendOptions) -> TensorSpec:
        where = f"model {self._path}: input {node.name}"
        dims = [d if isinstance(d, int) and d > 0 else 0 for d in node.shape]
        if len(dims) != 4 or not (dims[1] == 3 or dims[3] == 3):
            raise ModelError(
                f"{where}: expected 4 dimensions with 3 channels, [1,3,H,W] or [1,H,W,3], "
                f"got {list(node.shape)}"
            )
        layout: Layout = "nchw" if dims[1] == 3 else "nhwc"
        spatial = (2, 3) if layout == "nchw" else (1, 2)
        for axis, side in zip(spatial, options.input_size or (0, 0)):
            dims[axis] = dims[axis] or side
        dims[0] = dims[0] or 1
        if not all(dims) or dims[0] != 1:
            raise ModelError(
                f"{where}: expected batch 1 and a fixed size, got {list(node.shape)}; "
                "for a dynamic size say input.size = [height, width] in the manifest"
            )
        return TensorSpec(node.name, tuple(dims), self._dtype(node, where), layout)

    def _output_specs(self) -> tuple[TensorSpec, ...]:
        nodes = self._session.get_outputs()
        shapes = [tuple(node.shape) for node in nodes]
        if not all(isinstance(d, int) and d > 0 for shape in shapes for d in shape):
            blank = [np.zeros(spec.shape, spec.dtype) for spec in self.inputs]
            shapes = [result.shape for result in self.infer(blank)]
        where = f"model {self._path}: output"
        return tuple(
            TensorSpec(node.name, shape, self._dtype(node, f"{where} {node.name}"))
            for node, shape in zip(nodes, shapes)
        )

    def _dtype(self, node: Any, where: str) -> np.dtype[Any]:
        if node.type not in DTYPES:
            raise ModelError(f"{where}: expected one of {', '.join(DTYPES)}, got {node.type}")
        return np.dtype(DTYPES[node.type])


def _line(error: Exception) -> str:
    """The first line of an exception's text, where the reason is."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
