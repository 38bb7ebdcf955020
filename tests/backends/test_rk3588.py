"""From raw int8 to detections: a real model's recorded tensors through the whole detector."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from npud.detections import Detections
from runtime.config import Backend as Chip
from runtime.config import Model
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from tests.backends.conftest import Counts
from tests.board.rk3588_cases import Case, make_cases, read_cases

BACKENDS = ["librknnrt", "rknnlite"]
PERSON, BUS = 0, 5
Use = Callable[..., Detector]


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Made here, or on the host for the board."""
    if folder := os.environ.get("NPUD_RK3588"):
        return read_cases(Path(folder))
    pytest.importorskip("onnxruntime")
    return make_cases(tmp_path_factory.mktemp("rk3588"))


@pytest.fixture
def use(cases: dict[str, Case], stub: Callable[[], Counts], monkeypatch: pytest.MonkeyPatch) -> Use:
    """use("bus", "librknnrt") opens the case's model with a backend."""

    def opened(case: str, backend: str, **options: object) -> Detector:
        if backend == "rknnlite":
            pytest.importorskip("rknnlite", reason="rknn-toolkit-lite2 is for aarch64")
        if case not in cases:
            pytest.skip("needs the shared folder of real models")
        monkeypatch.setenv("STUB_TENSORS", str(cases[case].tensors))
        model = Model(path=str(cases[case].model))
        chip = Chip(name=backend, version_check="warn", **options)
        return Detector(read_model(model), model, chip)

    return opened


def frame(case: Case, number: int = 0) -> Frame:
    return Frame(cv2.imread(str(case.pictures[number])))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inner = float(np.prod(sides.clip(0)))
    return inner / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - inner)


def assert_same(found: Detections, expected: Detections, iou: float, score: float) -> None:
    assert len(found.boxes) == len(expected.boxes)
    for box, class_id, value in zip(expected.boxes, expected.class_ids, expected.scores):
        alike = found.boxes[found.class_ids == class_id]
        scores = found.scores[found.class_ids == class_id]
        near = [i for i in range(len(alike)) if overlap(alike[i], box) > iou]
        assert [i for i in near if abs(scores[i] - value) < score], (box, class_id, value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "iou", "score"), [("bus", 0.95, 0.08), ("street", 0.75, 0.05)], ids=["bus", "street"]
)
def test_what_the_float_model_sees_comes_out_of_the_npu(
    use: Use, cases: dict[str, Case], backend: str, name: str, iou: float, score: float
) -> None:
    detector = use(name, backend)
    for number in range(len(cases[name].pictures)):
        found, _ = detector.detect(frame(cases[name], number))
        expected = cases[name].detections(number)
        assert_same(found, expected, iou, score)
        if name == "bus":
            assert sorted(found.class_ids.tolist()) == [PERSON] * 4 + [BUS]
    detector.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_picture_finds_nothing(use: Use, cases: dict[str, Case], backend: str) -> None:
    detector = use("street", backend)
    pixels = frame(cases["street"]).pixels.copy()
    assert len(detector.detect(Frame(pixels))[0].boxes) > 5
    pixels[0, 0] ^= 255
    assert len(detector.detect(Frame(pixels))[0].boxes) == 0
    detector.close()


@pytest.mark.parametrize("name", ["street", "bus"])
def test_the_native_layout_is_decoded_to_the_same(
    use: Use, cases: dict[str, Case], name: str
) -> None:
    usual, native = use(name, "librknnrt"), use(name, "librknnrt", native_layout=True)
    assert {spec.layout for spec in native.backend.outputs} == {"nc1hwc2"}
    found, _ = usual.detect(frame(cases[name]))
    same, _ = native.detect(frame(cases[name]))
    assert len(found.boxes) > 4
    for field in ("boxes", "scores", "class_ids"):
        np.testing.assert_array_equal(getattr(found, field), getattr(same, field))
    usual.close()
    native.close()


def test_both_backends_find_the_same(use: Use, cases: dict[str, Case]) -> None:
    for case in cases:
        results = []
        for backend in BACKENDS:
            detector = use(case, backend)
            results.append(detector.detect(frame(cases[case]))[0])
            detector.close()
        np.testing.assert_allclose(results[0].boxes, results[1].boxes, atol=0.01)
        np.testing.assert_allclose(results[0].scores, results[1].scores, atol=1e-5)
        np.testing.assert_array_equal(results[0].class_ids, results[1].class_ids)


@pytest.mark.parametrize("case", ["street", "bus"])
def test_raw_integers_reach_the_decoder_without_a_float_copy(
    use: Use, cases: dict[str, Case], case: str, stub: Callable[[], Counts],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    detector = use(case, "librknnrt")
    picture = frame(cases[case])
    detector.detect(picture)
    views = {output.__array_interface__["data"][0] for output in detector.backend._io.read()}
    seen: list[np.ndarray] = []
    decode = detector._decode
    monkeypatch.setattr(detector, "_decode", lambda got: (seen.extend(got), decode(got))[1])
    tensor, _ = detector._preprocess(picture)
    raw = sum(output.nbytes for output in detector.backend.infer([tensor]))
    before = stub()
    tracemalloc.start()
    detector._decode(detector.backend.infer([tensor]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    after = stub()
    assert {array.dtype for array in seen} == {np.dtype(np.int8)}
    assert {array.__array_interface__["data"][0] for array in seen} == views
    assert after.floats_out == before.floats_out
    assert after.bytes_out - before.bytes_out == raw
    assert peak < max(raw // 8, 60_000)  # of Python and NumPy: samples, boxes, scores
    detector.close()


@pytest.mark.parametrize("case", ["street", "bus"])
def test_bytes_per_frame(
    use: Use, cases: dict[str, Case], case: str, stub: Callable[[], Counts]
) -> None:
    moved = {}
    for backend in BACKENDS:
        detector = use(case, backend)
        before = stub()
        detector.detect(frame(cases[case]))
        after = stub()
        outputs = detector.backend.outputs
        moved[backend] = after.bytes_out - before.bytes_out
        assert moved[backend] == sum(int(np.prod(o.shape)) * o.dtype.itemsize for o in outputs)
        detector.close()
    print(case, moved)
    assert moved["rknnlite"] == 4 * moved["librknnrt"]
