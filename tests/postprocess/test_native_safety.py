"""The C extension as such: memory, threads, references, refusal of what does not fit."""

import gc
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from heads import grid_model, single_model

from postprocess import _native
from postprocess.native import NativeEngine
from postprocess.options import Options

GUARD = 64


def busy_model(layout="nchw", head="dfl"):
    model = grid_model(head, layout, (320, 320), classes=20)
    rng = np.random.default_rng(1)
    for name, tensor in model.by_role.items():
        tensor[...] = rng.normal(-2.5 if name.startswith("cls") else 1.0, 1.5, tensor.shape)
    return model


def guarded(shape, dtype):
    """A contiguous array inside a larger buffer of 0xA5 bytes; (array, whole buffer)."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.full(size + 2 * GUARD, 0xA5, np.uint8)
    return raw[GUARD : GUARD + size].view(dtype).reshape(shape), raw


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("head", ["dfl", "ltrb"])
@pytest.mark.parametrize("limit", [1, 7, 300])
def test_nothing_is_written_beside_the_results(layout, head, limit):
    model = busy_model(layout, head)
    engine = NativeEngine(model.plan, model.specs, Options(max_detections=limit))
    boxes, raw_boxes = guarded((limit, 4), np.float32)
    scores, raw_scores = guarded((limit,), np.float32)
    class_ids, raw_ids = guarded((limit,), np.int32)
    inputs = [guarded(tensor.shape, np.float32) for tensor in model.tensors]
    for (array, _), tensor in zip(inputs, model.tensors):
        array[...] = tensor
    count = engine.decode([array for array, _ in inputs], boxes, scores, class_ids)
    assert 0 < count <= limit
    for raw in (raw_boxes, raw_scores, raw_ids, *(raw for _, raw in inputs)):
        assert (raw[:GUARD] == 0xA5).all()
        assert (raw[-GUARD:] == 0xA5).all()
    for array, raw, width in (
        (scores, raw_scores, 4),
        (class_ids, raw_ids, 4),
        (boxes, raw_boxes, 16),
    ):
        assert (raw[GUARD + count * width : GUARD + array.nbytes] == 0xA5).all()


def test_two_threads_on_one_decoder():
    models = [busy_model("nchw"), busy_model("nhwc")]
    models[1] = type(models[0])(
        models[0].plan, models[0].specs, [t[:, ::-1].copy() for t in models[0].tensors]
    )
    decoder = models[0].decoder("native")
    expected = [decoder(model.tensors) for model in models]
    failures = []

    def work(index):
        for _ in range(200):
            found = decoder(models[index].tensors)
            if found.boxes.tobytes() != expected[index].boxes.tobytes():
                failures.append(index)

    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_repeated_calls_give_the_same_bytes():
    model = busy_model()
    decoder = model.decoder("native")
    first = decoder(model.tensors)
    for _ in range(5):
        again = decoder(model.tensors)
        assert again.boxes.tobytes() == first.boxes.tobytes()
        assert again.scores.tobytes() == first.scores.tobytes()


def test_no_references_are_kept():
    model = busy_model()
    decoder = model.decoder("native")
    arrays = [*model.tensors]
    before = [sys.getrefcount(array) for array in arrays]
    for _ in range(10):
        decoder(model.tensors)
        with pytest.raises(ValueError, match="tensor"):
            decoder._engine.decode(model.tensors[:2], None, None, None)
    assert [sys.getrefcount(array) for array in arrays] == before
    assert sys.getrefcount(_native.Decoder) < 1000
    for _ in range(50):
        model.decoder("native")
    gc.collect()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc/self/statm")
def test_memory_is_freed():
    """As many decoders again as were made before take no more address space than those did.

    A decoder of this model has 5 MiB (resident only where written, hence address space). The first
    lot is as large as the second, so what AddressSanitizer's quarantine (256 MiB) keeps is full.
    """
    model = single_model((1, 84, 136_000), (2560, 2560))  # P2 to P5 of a large input

    def pages_after_sixty():
        for _ in range(60):
            model.decoder("native")(model.tensors)
        return int(Path("/proc/self/statm").read_text().split()[0])

    before = pages_after_sixty()
    assert (pages_after_sixty() - before) * os.sysconf("SC_PAGE_SIZE") < 20 << 20


NONE = (-1, 0, 0, 0, 0, 0, 0, 0)


def view(tensor, offset=0, row=2, cell=1, channel=4, first=0, block=0, block_stride=0):
    return (tensor, offset, row, cell, channel, first, block, block_stride)


def output(*shape, code="f", strides=None, scales=(1.0,), zero_points=(0,)):
    strides = strides or tuple(int(np.prod(shape[k + 1 :])) for k in range(len(shape)))
    return (code, shape, strides, np.float32(scales), np.int32(zero_points))


BOX, CLS = view(0), view(1)


def level(rows=2, columns=2, bins=0, box=BOX, cls=CLS, gate=NONE, is_sum=False):
    return (rows, columns, 8, bins, 0.0, 0.0, is_sum, box, cls, gate)


GOOD = {
    "head": "ltrb",
    "num_classes": 3,
    "logits": True,
    "threshold": 0.0,
    "score_floor": 0.25,
    "iou_threshold": 0.5,
    "max_detections": 10,
    "nms": 0,
    "multi_label": False,
    "sigmoid": 0,
    "table_size": 1024,
    "table_range": 10.0,
    "kernels": "auto",
    "outputs": (output(1, 4, 2, 2), output(1, 3, 2, 2)),
    "levels": (level(),),
}


def test_the_constructor_accepts_what_fits():
    assert _native.Decoder(**GOOD).nonfinite == 0


@pytest.mark.parametrize(
    "change",
    [
        {"kernels": "fastest"},
        {"head": "unknown"},
        {"num_classes": 0},
        {"num_classes": 4},
        {"num_classes": 4096},
        {"max_detections": 0},
        {"nms": 3},
        {"nms": -1},
        {"sigmoid": 3},
        {"sigmoid": -1},
        {"table_size": 0},
        {"table_size": 2**30},
        {"table_range": 0.5},
        {"table_range": float("nan")},
        {"outputs": ()},
        {"outputs": (output(1, 4, 2, 2),)},
        {"outputs": (("f", (1, 4, 2, -2), (16, 4, 2, 1), *output(1)[3:]), output(1, 3, 2, 2))},
        {"outputs": (output(1, 4, 2, 2), output(1, 2**40, 2**40, 2, strides=(1, 1, 1, 1)))},
        {"outputs": (output(1, 4, 2, 2, strides=(1, 2**40, 2**40, 2**40)), output(1, 3, 2, 2))},
        {"outputs": (output(1, 4, 2, 2, strides=(16, 4, 2)), output(1, 3, 2, 2))},
        {"outputs": (output(1, 4, 2, 2, strides=(16, -4, 2, 1)), output(1, 3, 2, 2))},
        {"outputs": (output(1, 4, 2, 2, code="d"), output(1, 3, 2, 2))},
        {"outputs": (output(1, 4, 2, 2, code="ff"), output(1, 3, 2, 2))},
        {"outputs": (output(*[1] * 9), output(1, 3, 2, 2))},
        {"outputs": (output(1, 4, 2, 2, code="b", scales=()), output(1, 3, 2, 2))},
        {"outputs": (output(1, 4, 2, 2, code="b", scales=(0.0,)), output(1, 3, 2, 2))},
        {"outputs": (output(1, 4, 2, 2, code="b", scales=(np.nan,)), output(1, 3, 2, 2))},
        {"outputs": (output(1, 4, 2, 2, code="b", scales=(1.0, 1.0)), output(1, 3, 2, 2))},
        {
            "outputs": (
                output(1, 4, 2, 2, code="b", scales=(1.0,) * 3, zero_points=(0,) * 3),
                output(1, 3, 2, 2),
            )
        },
        {"outputs": (5, (1, 3, 2, 2))},
        {"levels": ()},
        {"levels": GOOD["levels"] * 33},
        {"levels": (level(columns=3),)},
        {"levels": (level(65536, 65536),)},
        {"levels": (level(2**30, 4),)},
        {"levels": (level(0),)},
        {"levels": (level(box=view(0, 1)),)},
        {"levels": (level(box=view(0, cell=2)),)},
        {"levels": (level(box=view(0, row=3)),)},
        {"levels": (level(box=view(0, first=1)),)},
        {"levels": (level(box=view(0, block=2, block_stride=13)),)},
        {"levels": (level(box=view(0, block=2, block_stride=2**39)),)},
        {"levels": (level(cls=view(1, -1)),)},
        {"levels": (level(cls=view(1, cell=2, channel=2)),)},
        {"levels": (level(cls=view(2)),)},
        {"levels": (level(gate=view(1, 9)),)},
        {"levels": (level(gate=view(1), is_sum=True),)},
        {"levels": (level(box=view(0, channel=-4)),)},
        {"levels": (level(box=7),)},
        {"levels": (level(bins=65),), "head": "dfl"},
        {"levels": ((2, 2),)},
        {"head": "dfl"},
        {"head": "end2end"},
    ],
)
def test_the_constructor_refuses_what_would_read_outside(change):
    with pytest.raises((ValueError, TypeError, OverflowError)):
        _native.Decoder(**GOOD | change)


def test_decode_refuses_wrong_results():
    decoder = _native.Decoder(**GOOD)
    tensors = [np.zeros((1, 4, 2, 2), np.float32), np.zeros((1, 3, 2, 2), np.float32)]
    boxes, scores = np.zeros((10, 4), np.float32), np.zeros(10, np.float32)
    class_ids = np.zeros(10, np.int32)
    assert decoder.decode(tensors, boxes, scores, class_ids) == 4
    for wrong in (
        (boxes[:9], scores, class_ids),
        (boxes[:, :3].copy(), scores, class_ids),
        (boxes, scores[:5], class_ids),
        (boxes, scores, class_ids.astype(np.int64)),
        (boxes, class_ids, class_ids),
        (boxes.reshape(-1), scores, class_ids),
    ):
        with pytest.raises(ValueError, match=r"expected|room"):
            decoder.decode(tensors, *wrong)
    scores.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        decoder.decode(tensors, boxes, scores, class_ids)
    with pytest.raises(TypeError):
        decoder.decode(tensors, boxes)
    with pytest.raises(TypeError):
        decoder.decode(3, boxes, scores, class_ids)
    with pytest.raises(TypeError):
        decoder.decode([1, 2], boxes, scores, class_ids)
