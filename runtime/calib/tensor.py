"""Ready-made input tensors: what an .npy or a raw .bin holds, as far as its bytes tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from npud.errors import ModelError

Layout = Literal["nchw", "nhwc", "nv12", ""]
Scaled = Literal["0..255", "0..1", "centred", "constant"]
RAW_DTYPES = ("float32", "float16", "uint8")
USUAL_SIDES = (224, 256, 320, 384, 416, 480, 512, 608, 640, 768, 800, 960, 1024, 1280)
EVEN_PHASES = 1.25  # ratio between the differences of neighbours from which colours alternate


@dataclass(frozen=True)
class Tensor:
    """Facts of one input tensor.

    shape: (3, H, W) or (H, W, 3) without the batch, or (H·3/2, W) of NV12; low and high: of its
    finite values; finite: whether all are; evidence: how type and layout are known.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: str
    layout: Layout
    low: float
    high: float
    finite: bool
    evidence: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        if self.layout == "nv12":
            return self.shape[0] * 2 // 3, self.shape[1]
        return (self.shape[1], self.shape[2]) if self.layout == "nchw" else self.shape[:2]  # type: ignore[return-value]

    @property
    def scaled(self) -> Scaled:
        """What its range says of the scaling that was applied."""
        if self.low == self.high:
            return "constant"
        if self.low < -0.01:
            return "centred"
        return "0..1" if self.high <= 1.01 and self.dtype.startswith("float") else "0..255"


def read_tensor(path: Path, size: tuple[int, int] | None) -> tuple[Tensor, NDArray[np.float32]]:
    """Read an .npy or a raw .bin; size: the model's (height, width), which a .bin needs.

    Also gives its channels in the order they are stored, (H, W, 3), 0..255; of NV12 the luma three
    times.  Raises ModelError for what is no picture of three channels.
    """
    values, evidence = _npy(path) if path.suffix.lower() == ".npy" else _raw(path, size)
    if values.ndim == 4 and values.shape[0] == 1:
        values = values[0]
    layout, why = _layout(values, size)
    if not layout:
        raise ModelError(
            f"{path}: expected a picture, [1,3,H,W], [1,H,W,3] or NV12, got {list(values.shape)} "
            f"{values.dtype}"
        )
    if values.ndim == 1:
        values = values.reshape(_shape(layout, size or (0, 0)))
    numbers = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)
    tensor = Tensor(
        path,
        values.shape,
        values.dtype.name,
        layout,
        low,
        high,
        numbers.size == values.size,
        f"{evidence}{why}",
    )
    return tensor, _planes(tensor, values)


def _planes(tensor: Tensor, values: NDArray[Any]) -> NDArray[np.float32]:
    if tensor.layout == "nv12":
        luma = values[: tensor.size[0]].astype(np.float32)
        return np.repeat(luma[..., None], 3, axis=2)
    values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    values = values.transpose(1, 2, 0) if tensor.layout == "nchw" else values
    if tensor.scaled == "centred":
        values = (values - tensor.low) * (255 / max(tensor.high - tensor.low, 1e-9))
    elif tensor.scaled == "0..1":
        values = values * 255
    result: NDArray[np.float32] = values.clip(0, 255)
    return result


def _npy(path: Path) -> tuple[NDArray[Any], str]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's header parser raises a dozen kinds
        raise ModelError(f"{path}: expected an .npy of numbers: {_line(error)}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or not values.size:
        raise ModelError(f"{path}: expected an .npy of numbers, got another kind")
    return values, f"{list(values.shape)} {values.dtype} by its header"


def _raw(path: Path, size: tuple[int, int] | None) -> tuple[NDArray[Any], str]:
    """A .bin has no header: its length must be that of the model's input in some type."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
    if size is None:
        raise ModelError(f"{path}: {len(data)} bytes: {_guesses(len(data))}; state --size WxH")
    pixels = size[0] * size[1]
    if len(data) * 2 == pixels * 3:
        return data.reshape(size[0] * 3 // 2, size[1]), "NV12 by its length"
    for name in RAW_DTYPES:
        if len(data) == pixels * 3 * np.dtype(name).itemsize:
            return data.view(name), f"{name} by its length"
    expected = ", ".join(f"{pixels * 3 * np.dtype(n).itemsize} ({n})" for n in RAW_DTYPES)
    raise ModelError(
        f"{path}: expected {expected} or {pixels * 3 // 2} (NV12) bytes for {size[1]}x{size[0]}, "
        f"got {len(data)}"
    )


def _guesses(length: int) -> str:
    """What square picture a file of this length could hold."""
    found = [
        f"{name} {side}x{side}"
        for side in USUAL_SIDES
        for name in RAW_DTYPES
        if length == side * side * 3 * np.dtype(name).itemsize
    ]
    found += [f"NV12 {side}x{side}" for side in USUAL_SIDES if length * 2 == side * side * 3]
    return "it may be " + " or ".join(found) if found else "no usual size fits"


def _shape(layout: Layout, size: tuple[int, int]) -> tuple[int, ...]:
    return (3, *size) if layout == "nchw" else (*size, 3)


def _layout(values: NDArray[Any], size: tuple[int, int] | None) -> tuple[Layout, str]:
    if values.ndim == 2 and values.dtype == np.uint8 and values.shape[0] % 3 == 0:
        return "nv12", ""
    if values.ndim == 3 and (values.shape[0] == 3) != (values.shape[2] == 3):
        return ("nchw", "") if values.shape[0] == 3 else ("nhwc", "")
    if values.ndim == 1 and size is not None and values.size == 3 * size[0] * size[1]:
        return _by_neighbours(values, size[1])
    return "", ""


def _by_neighbours(values: NDArray[Any], width: int) -> tuple[Layout, str]:
    """Layout of raw numbers: where colours alternate, steps between neighbours have a period of 3.

    In planes all steps are alike; interleaved, a pixel's own (red to green, green to blue) differ
    from the one to the next pixel, and third neighbours are closer than next ones.  Steps from the
    end of a row to the next one are left out.
    """
    numbers = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    steps = np.abs(np.diff(numbers))
    inside = (np.arange(len(steps)) + 1) % width != 0
    phases = [float(steps[k::3][inside[k::3]].mean()) for k in range(3)]
    third = float(np.abs(numbers[3:] - numbers[:-3]).mean())
    if max(phases) == 0:
        return "nchw", ", layout not to be told: all values are equal"
    alternate = max(phases) > EVEN_PHASES * min(phases) or third < 0.9 * sum(phases) / 3
    if alternate:
        return "nhwc", ", NHWC as colours alternate"
    return "nchw", ", NCHW as neighbours are of one colour"


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
