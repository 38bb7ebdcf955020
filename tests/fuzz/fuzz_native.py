"""What libFuzzer calls: the entry points of the C extensions, with hostile arguments and tensors.

Everything may be refused with ValueError, TypeError, OverflowError, MemoryError or BufferError;
anything else, a report of ASan or UBSan, or a detection that cannot be, ends the run.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy as np

try:
    import _native  # built into libfuzzer_main.c

    sys.modules["postprocess._native"] = _native
    import postprocess

    postprocess._native = _native
    import _pixels
except ImportError:
    from postprocess import _native
    from runtime import _pixels

from tests.fuzz.plans import Seed, mutated, seeds

REFUSED = (ValueError, TypeError, OverflowError, MemoryError, BufferError)
HEADER = 48  # bytes that say what is mutated; the others become tensors
LARGEST_TENSOR = 1 << 16  # elements
SEEDS = seeds()


def decoder(data: bytes) -> None:
    """Decoder(…) with mutated arguments, then decode() of tensors made of the data."""
    header, rest = data[:HEADER].ljust(HEADER, b"\0"), data[HEADER:]
    seed = SEEDS[header[0] % len(SEEDS)]
    arguments = mutated(seed.arguments, header[1:40])
    try:
        made = _native.Decoder(**arguments)
    except REFUSED:
        return
    tensors = [
        strided(filled(shape, dtype, rest, header[40 + i % 4]), strides)
        for i, (shape, dtype, strides) in enumerate(outputs(seed, arguments))
    ]
    limit = arguments["max_detections"]
    if limit > 4096:
        return
    boxes, scores = np.empty((limit, 4), np.float32), np.empty(limit, np.float32)
    class_ids = np.empty(limit, np.int32)
    for _ in range(1 + header[44] % 2):
        try:
            count = made.decode(tensors, boxes, scores, class_ids)
        except REFUSED:
            continue
        check(count, boxes, scores, class_ids, arguments)


def check(count: int, boxes: Any, scores: Any, class_ids: Any, arguments: dict[str, Any]) -> None:
    """What holds for every frame, whatever is in it."""
    assert 0 <= count <= arguments["max_detections"]
    assert np.isfinite(boxes[:count]).all()
    if not np.isnan(arguments["score_floor"]):  # the Options never let one through
        assert not np.isnan(scores[:count]).any()
    assert (class_ids[:count] >= 0).all()
    if arguments["num_classes"]:
        assert (class_ids[:count] < arguments["num_classes"]).all() or arguments[
            "head"
        ] == "end2end"


def outputs(
    seed: Seed, arguments: dict[str, Any]
) -> list[tuple[tuple[int, ...], np.dtype[Any], tuple[int, ...]]]:
    """Shape, type and strides of the tensors: as mutated where that is possible and small."""
    found = []
    for spec, output in zip(seed.specs, arguments["outputs"]):
        shape, strides = spec.shape, spec.element_strides
        if isinstance(output, tuple) and len(output) > 2 and _is_small(output[1], output[2]):
            shape, strides = output[1:3]
        found.append((shape, spec.dtype, strides))
    return found


def _is_small(shape: Any, strides: Any) -> bool:
    for numbers in (shape, strides):
        if not isinstance(numbers, tuple) or not all(isinstance(n, int) for n in numbers):
            return False
    if len(shape) != len(strides) or not all(n > 0 for n in (*shape, *strides)):
        return False
    return sum(float(n - 1) * s for n, s in zip(shape, strides)) < LARGEST_TENSOR and (
        np.prod([float(n) for n in shape]) < LARGEST_TENSOR
    )


def strided(tensor: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """The tensor's values with these strides (in elements), in memory that ends with the last."""
    elements = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, strides))
    memory = np.zeros(elements, tensor.dtype)
    steps = tuple(s * tensor.itemsize for s in strides)
    view = np.lib.stride_tricks.as_strided(memory, tensor.shape, steps)
    view[...] = tensor
    return view


def filled(shape: tuple[int, ...], dtype: np.dtype[Any], data: bytes, style: int) -> np.ndarray:
    """A tensor of its own memory: the data over and over, or small numbers made of it."""
    size = int(np.prod(shape))
    raw = np.frombuffer(data or b"\0", np.uint8)
    if dtype.kind != "f" or style % 2:
        wanted = size * dtype.itemsize
        start = style % len(raw)
        repeated = np.resize(np.roll(raw, -start), wanted)
        return repeated.view(dtype).reshape(shape).copy()
    values = (np.resize(raw, size).astype(np.float32) - 128) / (8 if style & 2 else 32)
    return values.astype(dtype).reshape(shape)


def nms(data: bytes) -> None:
    """nms(…) of boxes, scores and classes made of the data."""
    header, rest = data[:12].ljust(12, b"\0"), data[12:]
    count, classes = header[0] * (1 + header[1] % 8), 1 + header[2] * (16 if header[3] & 1 else 1)
    boxes = filled((count, 4), np.dtype(np.float32), rest, header[4])
    if header[5] & 1:
        with np.errstate(all="ignore"):
            boxes[:, 2:] += np.abs(boxes[:, :2])
    scores = filled((count,), np.dtype(np.float32), rest[::-1], header[6])
    ids = np.resize(np.frombuffer(rest or b"\0", np.uint8), count).astype(np.int32) * 257
    ids = (ids % classes if header[5] & 2 else ids - (header[7] == 255)).astype(np.int32)
    limit = (1, 5, 300, 1 << 40, header[8])[header[9] % 5]
    kept = np.empty(max(0, min(count, limit) - (header[5] >> 7)), np.int32)
    iou = (0.0, 0.45, 1.0, float("nan"), -1.0, header[10] / 255)[header[10] % 6]
    try:
        found = _native.nms(boxes, scores, ids, kept, iou, limit, header[11] % 5 - 1)
    except REFUSED:
        return
    assert 0 <= found <= min(limit, count)
    assert len(set(kept[:found].tolist())) == found
    assert ((kept[:found] >= 0) & (kept[:found] < count)).all()
    ordered = scores[kept[:found]]
    assert (ordered[1:] <= ordered[:-1]).all()


def sigmoid(data: bytes) -> None:
    """sigmoid(…) of any floats with any size of table, sigmoid_table(…) of any type and scale."""
    header, rest = data[:8].ljust(8, b"\0"), data[8:]
    steps = int.from_bytes(header[:2], "little") - 1
    values = filled((len(rest) // 4,), np.dtype(np.float32), rest, 1)
    out = np.empty(max(0, len(values) - (steps == 9999)), np.float32)
    try:
        width = (1.0, 10.0, 100.0, float("nan"), 0.0, -5.0)[header[2] % 6]
        _native.sigmoid(values, out, header[3] % 5 - 1, steps, width)
        inside = ~np.isnan(values)
        assert ((out[inside] >= 0) & (out[inside] <= 1)).all()
        assert np.isnan(out[~inside]).all()
    except REFUSED:
        pass
    scale = (0.1, 0.0, -1.0, 1e-45, 3e38, float("nan"), float("inf"))[header[4] % 7]
    table = np.empty((256, 65536, 0, 255)[header[5] % 4], np.float32)
    zero_point = int.from_bytes(header[6:8], "little", signed=True) * (65537 if scale < 0 else 1)
    with contextlib.suppress(*REFUSED):
        _native.sigmoid_table("ebBhfi?"[header[3] % 7], scale, zero_point, table)


def pixels(data: bytes) -> None:
    """Plan(…) of small or hostile sizes, and run() on memory that ends where the pixels do."""
    header, rest = data[:32].ljust(32, b"\0"), data[32:]
    source, layout, element = (header[i] % 4 - (header[i] == 255) for i in range(3))
    source_size = _size(header[4:8])
    size, inner = _size(header[8:12]), _size(header[12:16])
    if header[16] & 1:  # what fits: most of the others are refused
        inner = min(inner[0], size[0]), min(inner[1], size[1])
    corner = header[17] % 64 - (header[16] >> 7), header[18] % 64
    if header[16] & 2:
        corner = (
            corner[0] % max(1, size[0] - inner[0] + 1),
            corner[1] % max(1, size[1] - inner[1] + 1),
        )
    try:
        plan = _pixels.Plan(
            source=source,
            layout=layout,
            element=element,
            rgb=bool(header[3] & 1),
            source_size=source_size,
            size=size,
            inner=inner,
            corner=corner,
            pad=np.frombuffer(header[19:22], np.uint8),
            matrix=filled((3, 4), np.dtype(np.float64), rest, header[22]),
            floats=filled((2, 3), np.dtype(np.float32), rest, header[23]),
            table=filled((3, 256), np.dtype(np.uint16), rest, 1),
            kernels=("auto", *_pixels.variants(), "none")[header[24] % 4],
        )
    except REFUSED:
        return
    height, width = source_size
    shape = {0: (height, width, 3), 1: (height * 3 // 2, width), 2: (height, width, 2)}[source]
    frame = filled(shape, np.dtype(np.uint8), rest, 1)
    dtype = np.dtype((np.uint8, np.float32, np.uint8, np.uint16)[element])
    rows, columns = size
    target = np.empty(rows * columns * 3 // (2 if layout == 2 else 1) - (header[25] == 1), dtype)
    with contextlib.suppress(*REFUSED):
        plan.run(frame, target)


def _size(four: bytes) -> tuple[int, int]:
    """(height, width): small ones, now and then one that is none or overflows."""
    if four[0] == 255:
        return (0, -1, 1 << 31, 1 << 62)[four[1] % 4], 1 + four[2]
    return 1 + four[0] % 80, 1 + four[2] % 80
