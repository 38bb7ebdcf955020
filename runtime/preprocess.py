"""Frame -> model input: letterbox, colours, normalisation, memory layout, in one pass in C.

What is computed, and what it costs: docs/preprocess.md.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from npud.errors import ConfigError, InferenceError
from runtime.frame import Format, Frame, YuvMatrix, YuvRange
from runtime.input_spec import (
    YUV_OF_BGR,
    Fit,
    InputSpec,
    Letterbox,
    Matrix,
    bgr_of_yuv,
    yuv_of_yuv,
)
from runtime.preprocess_reference import Reference, bgr_to_nv12, elements

__all__ = ["Fit", "InputSpec", "Letterbox", "Preprocessor", "bgr_to_nv12", "check", "to_bgr"]

KERNELS_ENV = "NPUD_KERNELS"
FORMATS: tuple[Format, ...] = ("bgr", "nv12", "yuyv")  # npud_source of native/pixels/letterbox.h
PLANES, PIXELS, NV12 = range(3)  # npud_layout
BYTES, FLOATS, TABLE_8, TABLE_16 = range(4)  # npud_element
MOST_PLANS = 8
Geometry = tuple[Format, tuple[int, ...], YuvRange, YuvMatrix]


class Engine(Protocol):
    """What computes: fills the tensor (C-contiguous, of spec.shape) with a frame."""

    name: str

    def run(self, frame: Frame, box: Letterbox, out: NDArray[Any]) -> None:
        """Fill `out`."""
        ...


class Preprocessor:
    """Turns frames into the model's input tensor.

    The tensor is one buffer, written anew by each call: use it before the next.  Not for two
    threads at once.  `kernels` is "auto", "native", "reference" (OpenCV and NumPy, slow) or a
    variant of the C kernels ("scalar", "avx2", "neon"); the environment variable NPUD_KERNELS
    replaces "auto".  Raises ModelError for what cannot be fed, ConfigError for unknown kernels.
    """

    def __init__(self, spec: InputSpec, kernels: str = "auto") -> None:
        spec.check()
        self.spec = spec
        self._tensor = np.empty(spec.shape, np.uint8 if spec.color == "nv12" else spec.dtype)
        self._engine = _choose(spec, kernels)

    @property
    def kernels(self) -> str:
        """Name of the kernel variant in use."""
        return self._engine.name

    def __call__(self, frame: Frame) -> tuple[NDArray[Any], Letterbox]:
        """Return (tensor, how the frame was fitted into it).

        The tensor is (1, 3, H, W) or (1, H, W, 3), for NV12 uint8 (1, H·3/2, W), C-contiguous.
        Raises InferenceError for a frame whose pixels are not what its format says.
        """
        check(frame)
        box = Letterbox.fit(frame.width_px, frame.height_px, self.spec.size, self.spec.letterbox)
        self._engine.run(frame, box, self._tensor)
        return self._tensor, box


def check(frame: Frame) -> None:
    """Raise InferenceError unless the pixels are what the frame's format says."""
    pixels, kind = frame.pixels, frame.format
    channels = {"bgr": 3, "nv12": None, "yuyv": 2}[kind]
    shape = pixels.shape
    fits = pixels.dtype == np.uint8 and pixels.size > 0
    fits = fits and shape[2:] == (() if channels is None else (channels,))
    if kind == "nv12":
        fits = fits and shape[0] % 3 == 0 and shape[1] % 2 == 0
    if kind == "yuyv":
        fits = fits and shape[1] % 2 == 0
    if fits and pixels.flags.c_contiguous:
        return
    wanted = {"bgr": "(H, W, 3)", "nv12": "(H·3/2, W), H and W even,", "yuyv": "(H, W, 2), W even,"}
    layout = "" if pixels.flags.c_contiguous else f" with strides {pixels.strides}"
    raise InferenceError(
        f"camera {frame.camera}: expected C-contiguous {kind} pixels {wanted[kind]} of uint8, "
        f"got {shape} of {pixels.dtype}{layout}"
    )


def to_bgr(frame: Frame) -> NDArray[np.uint8]:
    """Return the whole picture as (H, W, 3) BGR; chroma is interpolated."""
    check(frame)
    size = (frame.height_px, frame.width_px)
    spec = InputSpec(size, "nhwc", np.dtype(np.uint8), "bgr", std=(1, 1, 1))
    picture: NDArray[np.uint8] = Preprocessor(spec)(frame)[0][0]
    return picture


def _choose(spec: InputSpec, kernels: str) -> Engine:
    source = "kernels"
    if kernels == "auto":
        kernels, source = os.environ.get(KERNELS_ENV, "auto"), KERNELS_ENV
    if kernels == "reference":
        return Reference(spec)
    try:
        from runtime import _pixels
    except ImportError as error:
        raise ConfigError(
            f'kernels: the C extension cannot be loaded ({error}); build it with "make build", or '
            f"set {KERNELS_ENV}=reference (slow)"
        ) from error
    names = ("auto", "native", *_pixels.variants(), "reference")
    if kernels not in names:
        expected = ", ".join(f'"{name}"' for name in names)
        raise ConfigError(f"{source}: expected one of {expected}, got {kernels!r}")
    return _Native(spec, "auto" if kernels == "native" else kernels)


class _Native:
    """The C kernels, with a plan for each geometry of frames that come."""

    def __init__(self, spec: InputSpec, kernels: str) -> None:
        from runtime import _pixels

        self._plan = _pixels.Plan
        self._spec, self._kernels = spec, kernels
        self._plans: dict[Geometry, _pixels.Plan] = {}
        self.name = kernels if kernels != "auto" else _pixels.variants()[0]
        table = np.zeros((3, 256), np.uint16)
        self._element = BYTES
        if spec.color != "nv12" and not spec.as_bytes:
            self._element = FLOATS
            if spec.dtype != np.float32:
                self._element = TABLE_16 if spec.dtype.itemsize == 2 else TABLE_8
                levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
                entries = np.ascontiguousarray(elements(spec, levels).T)
                table[:] = entries.view(np.uint16 if spec.dtype.itemsize == 2 else np.uint8)
        self._table = table

    def run(self, frame: Frame, box: Letterbox, out: NDArray[Any]) -> None:
        """Fill `out`."""
        key = (frame.format, frame.pixels.shape, frame.yuv_range, frame.yuv_matrix)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[key] = self._make(frame, box)
        plan.run(frame.pixels, out)

    def _make(self, frame: Frame, box: Letterbox) -> Any:
        spec = self._spec
        width, height = box.inner
        pad = np.full(3, spec.pad_value, np.uint8)
        if spec.color == "nv12":
            matrix, layout = YUV_OF_BGR[spec.yuv_range], NV12
            if frame.format != "bgr":
                grey = matrix @ [spec.pad_value, spec.pad_value, spec.pad_value, 1]
                pad = np.rint(grey).clip(0, 255).astype(np.uint8)
                matrix = yuv_of_yuv(frame.yuv_range, spec.yuv_range)
        else:
            matrix = bgr_of_yuv(frame.yuv_range, frame.yuv_matrix)
            layout = PLANES if spec.layout == "nchw" else PIXELS
        return self._plan(
            source=FORMATS.index(frame.format),
            layout=layout,
            element=self._element,
            rgb=spec.color == "rgb",
            source_size=(box.height_px, box.width_px),
            size=spec.size,
            inner=(height, width),
            corner=(box.pad_y, box.pad_x),
            pad=pad,
            matrix=_as_doubles(matrix),
            floats=np.concatenate([spec.gain, spec.offset]),
            table=self._table,
            kernels=self._kernels,
        )


def _as_doubles(matrix: Matrix) -> Matrix:
    return np.ascontiguousarray(matrix, np.float64)
