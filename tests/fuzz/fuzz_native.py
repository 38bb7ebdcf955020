"""What libFuzzer calls: the entry points of the C extension, with hostile arguments and tensors.

Everything may be refused with ValueError, TypeError, OverflowError, MemoryError or BufferError;
anything else, a report of ASan or UBSan, or a detection that cannot be, ends the run.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

try:
    import _native  # built into libfuzzer_main.c

    sys.modules["postprocess._native"] = _native
    import postprocess

    postprocess._native = _native
except ImportError:
    from postprocess import _native

from tests.fuzz.plans import Seed, mutated, seeds

REFUSED = (ValueError, TypeError, OverflowError, MemoryError, BufferError)
HEADER = 48  # bytes that say what is mutated; the others become tensors
LARGEST_TENSOR = 1 << 18  # bytes
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
        filled(s, d, rest, header[40 + i % 4]) for i, (s, d) in enumerate(shapes(seed, arguments))
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


def shapes(seed: Seed, arguments: dict[str, Any]) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shapes and types of the tensors: as mutated where that is small, else as they were."""
    found = []
    for spec, output in zip(seed.specs, arguments["outputs"]):
        shape = output[1] if isinstance(output, tuple) and len(output) > 1 else ()
        if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
            shape = ()
        fits = shape and all(n > 0 for n in shape)
        size = int(np.prod([float(n) for n in shape])) * spec.dtype.itemsize if fits else 0
        found.append((shape if 0 < size <= LARGEST_TENSOR else spec.shape, spec.dtype))
    return found


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
    assert (np.diff(scores[kept[:found]]) <= 0).all()


def sigmoid(data: bytes) -> None:
    """sigmoid(…) of any floats, with any size of table."""
    steps = int.from_bytes(data[:2], "little") - 1
    values = filled((len(data) // 4,), np.dtype(np.float32), data[2:], 1)
    out = np.empty(max(0, len(values) - (steps == 9999)), np.float32)
    try:
        mode, table_range = (
            len(data) % 4,
            (1.0, 10.0, 100.0, float("nan"))[data[-1] % 4 if data else 0],
        )
        _native.sigmoid(values, out, mode, steps, table_range)
    except REFUSED:
        return
    inside = ~np.isnan(values)
    assert ((out[inside] >= 0) & (out[inside] <= 1)).all()
    assert np.isnan(out[~inside]).all()
