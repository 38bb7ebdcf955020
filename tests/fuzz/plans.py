"""Arguments of the native Decoder: those of real heads, and what bytes make of them.

The real ones are overheard: whatever postprocess.native gives to the extension for a head.  So
nothing here has to know what the arguments mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from npud.errors import NpudError
from postprocess import _native
from postprocess.decoder import make_decoder
from postprocess.detect_head import Hints, recognise
from postprocess.options import Options
from postprocess.tensor import Quantization, TensorSpec

SIZE = (64, 32)
DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32")
INTEGERS = (-1, 0, 1, 2, 3, 4, 7, 16, 17, 64, 255, 4095, 4096, 2**20, 2**31 - 1, 2**31, 2**63 - 1)
FLOATS = (0.0, -0.0, 0.25, 1.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))
OTHERS = (None, (), "", b"", "dfl", "ltrb", "flat", "end2end", "anchor", "yolox", "boxes_scores")


@dataclass(frozen=True)
class Seed:
    """The outputs of a made-up model and the arguments of its native Decoder."""

    specs: list[TensorSpec]
    arguments: dict[str, Any]


def seeds() -> list[Seed]:
    """One for each head, layout and type that npud decodes."""
    found = []
    for specs, hints in _models():
        heard: list[dict[str, Any]] = []
        real = _native.Decoder

        def listen(heard: list[dict[str, Any]] = heard, real: Any = real, **arguments: Any) -> Any:
            heard.append(arguments)
            return real(**arguments)

        with mock.patch.object(_native, "Decoder", listen):
            try:
                plan = recognise(specs, SIZE, hints)
                make_decoder(plan, specs, Options(max_detections=40, table_size=64), "native")
            except (NpudError, TypeError, ValueError):
                continue
        found.append(Seed(specs, heard[0]))
    return found


def _models() -> Iterator[tuple[list[TensorSpec], Hints]]:
    for dtype in DTYPES:
        for layout in ("nchw", "nhwc"):
            for activation in ("logits", "probabilities"):
                known = {"activation": activation, "num_classes": 3, "layout": layout}
                for head, channels in (("dfl", (64, 3)), ("ltrb", (4, 3, 1)), ("dfl", (20, 3, 1))):
                    yield _grid(channels, layout, dtype), Hints(head=head, **known)
                yield _grid((24,), layout, dtype), _hints("anchor", known, anchors=_ANCHORS)
                yield _grid((8,), layout, dtype), _hints("yolox", known)
                yield _grid((4, 1, 3), layout, dtype), _hints("yolox", known)
        for shape in ((1, 7, 42), (1, 42, 7), (1, 126, 8)):
            yield [_spec(0, shape, dtype)], Hints(head="flat", num_classes=3)
        for shape in ((1, 20, 6), (20, 7)):
            yield [_spec(0, shape, dtype)], Hints(head="end2end")
        known = {"activation": "logits", "num_classes": 3}
        blocks = [_blocks(spec) for spec in _grid((64, 3), "nchw", dtype)]
        yield blocks, Hints(head="dfl", layout="nc1hwc2", **known)
        padded = [_padded(spec) for spec in _grid((4, 3), "nhwc", dtype)]
        yield padded, Hints(head="ltrb", layout="nhwc", **known)
        pair = [_spec(0, (1, 42, 4), dtype), _spec(1, (1, 42, 3), dtype)]
        yield pair, _hints("boxes_scores", {"num_classes": 3})


_ANCHORS = (((10, 13), (16, 30), (33, 23)),) * 3


def _hints(head: str, known: dict[str, Any], **more: Any) -> Hints:
    try:
        return Hints(head=head, **known, **more)  # type: ignore[arg-type]
    except TypeError:
        return Hints(head=head, **known)  # type: ignore[arg-type]


def _grid(channels: tuple[int, ...], layout: str, dtype: str) -> list[TensorSpec]:
    specs = []
    for stride in (8, 16, 32):
        rows, columns = SIZE[0] // stride, SIZE[1] // stride
        for n in channels:
            shape = (1, n, rows, columns) if layout == "nchw" else (1, rows, columns, n)
            specs.append(_spec(len(specs), shape, dtype))
    return specs


def _spec(index: int, shape: tuple[int, ...], dtype: str) -> TensorSpec:
    quantization = None if dtype.startswith("float") else Quantization.per_tensor(0.05, 3)
    return TensorSpec(f"o{index}", shape, np.dtype(dtype), "", quantization)


def _blocks(spec: TensorSpec) -> TensorSpec:
    """As [1, C1, H, W, 16], with a scale per channel where it is quantized."""
    _, channels, rows, columns = spec.shape
    shape = (1, -(-channels // 16), rows, columns, 16)
    return TensorSpec(
        spec.name, shape, spec.dtype, "nc1hwc2", _per_channel(spec, channels), channels=channels
    )


def _padded(spec: TensorSpec) -> TensorSpec:
    """The same with two elements behind each cell and three behind each row."""
    _, rows, columns, channels = spec.shape
    row = columns * (channels + 2) + 3
    strides = (rows * row, row, channels + 2, 1)
    quantization = _per_channel(spec, channels)
    return TensorSpec(spec.name, spec.shape, spec.dtype, "nhwc", quantization, strides)


def _per_channel(spec: TensorSpec, channels: int) -> Quantization | None:
    if spec.quantization is None:
        return None
    scale = np.linspace(0.02, 0.06, channels, dtype=np.float32)
    return Quantization(scale, np.arange(channels, dtype=np.int32) % 5)


def mutated(arguments: dict[str, Any], data: bytes) -> dict[str, Any]:
    """Change as many leaves as the first byte says, three bytes for each."""
    result: Any = arguments
    for i in range(data[0] % 8):
        where, how, what = data[1 + 3 * i : 4 + 3 * i]
        paths = list(_leaves(result))
        path = paths[(where | (how & 0xF0) << 4) % len(paths)]
        result = _replaced(result, path, how & 15, what)
    return dict(result)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, (dict, tuple)) and value:
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from _leaves(value[key], (*path, key))
    else:
        yield path


def _replaced(value: Any, path: tuple[Any, ...], how: int, what: int) -> Any:
    if not path or (how == 15 and isinstance(value, tuple)):
        return _other(value, how, what)
    parts = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    parts[path[0]] = _replaced(parts[path[0]], path[1:], how, what)
    return parts if isinstance(value, dict) else tuple(parts.values())


def _other(value: Any, how: int, what: int) -> Any:
    if how >= 14:
        return value[: what % 4] if isinstance(value, tuple) else OTHERS[what % len(OTHERS)]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + what - 128 if how % 2 else INTEGERS[what % len(INTEGERS)]
    if isinstance(value, float):
        return what / 128 - 1 if how % 2 else FLOATS[what % len(FLOATS)]
    if isinstance(value, np.ndarray) and value.size:
        changed = value.copy()
        with np.errstate(all="ignore"):
            some = FLOATS if value.dtype.kind == "f" else (0, 1, -1, 127, -128, 2**31 - 1, -(2**31))
            changed.flat[what % value.size] = some[how % len(some)]
        return changed if how % 3 else changed[: what % 4]
    return OTHERS[what % len(OTHERS)]
