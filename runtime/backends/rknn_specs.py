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


class RefusedError(Exception):
    """The library has no shared memory, or no native layout, for this context."""


def query_attr(
    library: api.Library, context: int, where: str, command: int, index: int
) -> api.Attr:
    """What the library says of one tensor; raises InferenceError."""
    got = api.Attr(index=index)
    size = ctypes.sizeof(got)
    library.call("rknn_query", where, context, command, addressof(got), size)
    return got


def query_attrs(
    library: api.Library, context: int, where: str
) -> tuple[list[api.Attr], list[api.Attr]]:
    """What the library says of all (inputs, outputs); raises InferenceError."""
    counts = api.InOut()
    size = ctypes.sizeof(counts)
    library.call("rknn_query", where, context, api.IN_OUT_NUM, addressof(counts), size)
    asked = (library, context, where)
    return (
        [query_attr(*asked, api.INPUT_ATTR, index) for index in range(counts.inputs)],
        [query_attr(*asked, api.OUTPUT_ATTR, index) for index in range(counts.outputs)],
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


def native_output(attr: api.Attr, usual: TensorSpec) -> TensorSpec:
    """An output as the NPU itself writes it, [1, C1, H, W, C2]; `usual` is its NCHW spec.

    Raises RefusedError for a layout that npud does not know.
    """
    dims = tuple(attr.dims[: attr.n_dims])
    if attr.fmt != api.NC1HWC2 or len(dims) != 5 or usual.layout != "nchw":
        raise RefusedError(f"no native layout known of {usual}, got {list(dims)}")
    channels, height, width = usual.shape[1:]
    fits = dims[0] == 1 and dims[2:4] == (height, width) and dims[1] * dims[4] >= channels
    size = int(np.prod(dims)) * usual.dtype.itemsize
    if not fits or attr.size != size or attr.w_stride not in (0, width):
        raise RefusedError(f"native layout {list(dims)} does not fit {usual}")
    return TensorSpec(
        usual.name, dims, usual.dtype, "nc1hwc2", usual.quantization, channels=channels
    )


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
