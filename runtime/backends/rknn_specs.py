"""What librknnrt says of a model's tensors, as TensorSpecs, held against what the file says."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import addressof

import numpy as np

from npud.errors import ModelError
from postprocess.tensor import Layout, Quantization, TensorSpec
from runtime.backends import rknn_api as api

LAYOUTS: dict[int, Layout] = {api.NCHW: "nchw", api.NHWC: "nhwc"}


def query_attrs(
    library: api.Library, context: int, where: str
) -> tuple[list[api.Attr], list[api.Attr]]:
    """What the library says of all (inputs, outputs); raises InferenceError."""
    counts = api.InOut()
    size = ctypes.sizeof(counts)
    library.call("rknn_query", where, context, api.IN_OUT_NUM, addressof(counts), size)

    def attr(command: int, index: int) -> api.Attr:
        got = api.Attr(index=index)
        size = ctypes.sizeof(got)
        library.call("rknn_query", where, context, command, addressof(got), size)
        return got

    return (
        [attr(api.INPUT_ATTR, index) for index in range(counts.inputs)],
        [attr(api.OUTPUT_ATTR, index) for index in range(counts.outputs)],
    )


def input_spec(attr: api.Attr) -> TensorSpec:
    """Pictures are fed as bytes, NHWC: the library scales and quantizes them itself."""
    dims = tuple(attr.dims[: attr.n_dims])
    name = attr.name.decode(errors="replace")
    if attr.n_dims != 4:
        return TensorSpec(name, dims, api.DTYPES[attr.type])
    if attr.fmt == api.NCHW:
        dims = (dims[0], dims[2], dims[3], dims[1])
    return TensorSpec(name, dims, np.dtype(np.uint8), "nhwc")


def output_spec(attr: api.Attr, where: str) -> TensorSpec:
    """Outputs stay in the type the NPU writes, with scale and zero point; raises ModelError."""
    name, dims = attr.name.decode(errors="replace"), tuple(attr.dims[: attr.n_dims])
    if attr.type >= len(api.DTYPES):
        raise ModelError(f"{where}: output {name}: expected a known type, got number {attr.type}")
    dtype = api.DTYPES[attr.type]
    size = int(np.prod(dims)) * dtype.itemsize
    if attr.size != size:
        raise ModelError(
            f"{where}: output {name}: expected {size} bytes for {list(dims)} {dtype}, "
            f"librknnrt says {attr.size}"
        )
    quantization = None
    if attr.qnt_type == api.QNT_AFFINE:
        quantization = Quantization.per_tensor(attr.scale, attr.zp)
    elif attr.qnt_type == api.QNT_DFP:
        quantization = Quantization.per_tensor(2.0**-attr.fl)
    layout: Layout = LAYOUTS.get(attr.fmt, "") if len(dims) == 4 else ""
    return TensorSpec(name, dims, dtype, layout, quantization)


def compare(where: str, stated: Sequence[TensorSpec], got: Sequence[TensorSpec]) -> None:
    """Raise ModelError where the library speaks of other outputs than the file."""
    if len(stated) != len(got):
        raise ModelError(
            f"{where}: expected {len(stated)} outputs, as the file says; librknnrt says {len(got)}"
        )
    for ours, theirs in zip(stated, got):
        if np.prod(ours.shape) != np.prod(theirs.shape):
            raise ModelError(
                f"{where}: output {ours.name}: expected {list(ours.shape)}, as the file says; "
                f"librknnrt says {list(theirs.shape)}"
            )
