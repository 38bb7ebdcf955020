"""`npud compare`: counts as numpy has them, pairs by meaning, and verdicts that scripts can use."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from postprocess.reference_nms import sigmoid
from postprocess.tensor import Quantization, TensorSpec
from runtime import config
from runtime.accuracy.tally import Limits, Tally
from runtime.backends.replay import ReplayBackend
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.models import recording
from runtime.scenes import LABELS, Street

Command = Callable[..., tuple[int, str, str]]
Change = Callable[[TensorSpec, np.ndarray], tuple[TensorSpec, np.ndarray]]
COUNT = 3


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_assert_allclose(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits = Limits(rtol=10.0 ** -rng.integers(3, 6), atol=10.0 ** -rng.integers(2, 6))
    a = rng.normal(0, 3, (40, 7)).astype(np.float32)
    b = (a + rng.normal(0, 0.01, a.shape) * rng.integers(0, 2, a.shape)).astype(np.float32)
    a[3, 3] = b[3, 3] = np.nan
    a[4, 4] = b[4, 4] = -np.inf
    tally = Tally("x")
    tally.add(a[:20], b[:20], limits)
    tally.add(a[20:], b[20:], limits)
    with pytest.raises(AssertionError) as error:
        np.testing.assert_allclose(b.astype(float), a.astype(float), limits.rtol, limits.atol)
    counted = re.search(r"Mismatched elements: (\d+) / (\d+)", str(error.value))
    assert counted
    nan = 0 if int(counted[2]) == tally.count else 1  # numpy may leave NaN out of the total
    assert (tally.mismatched, tally.count) == (int(counted[1]), int(counted[2]) + nan)
    x, y = (v[np.isfinite(a)].astype(float) for v in (a, b))
    assert tally.max_absolute == pytest.approx(np.abs(y - x).max())
    assert tally.max_relative == pytest.approx((np.abs(y - x) / np.abs(x)).max())
    assert (tally.highest_a, tally.highest_b) == (x.max(), y.max())
    cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    assert tally.cosine == pytest.approx(cosine, rel=1e-9)


def test_what_is_not_finite_matches_its_like() -> None:
    a = np.array([np.nan, np.nan, np.inf, np.inf, 1, 0], np.float32)
    b = np.array([np.nan, 1, np.inf, -np.inf, np.inf, 0], np.float32)
    tally = Tally("x")
    tally.add(a, b, Limits())
    assert (tally.mismatched, tally.max_absolute) == (3, 0)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"{number}.png"), Street(50 + number, (640, 480)).frame(70)[0])
    return folder


@pytest.fixture(scope="module")
def recorded(scenes: Path) -> tuple[Detector, list[list[np.ndarray]]]:
    """The bundled model, and its outputs for each scene."""
    settings = config.Model()
    detector = Detector(read_model(settings), settings, config.Backend())
    frames = [Frame(cv2.imread(str(path))) for path in sorted(scenes.glob("*.png"))]
    return detector, [[o.copy() for o in detector.observe(f).outputs] for f in frames]


def save(
    path: Path, recorded: tuple[Detector, list[list[np.ndarray]]], change: Change, order: int = 1
) -> Path:
    """A recording of the outputs, each changed, in the given order; with a manifest."""
    detector, frames = recorded
    backend = detector.backend
    changed = [[change(s, a) for s, a in zip(backend.outputs, f)][::order] for f in frames]
    specs = [spec for spec, _ in changed[0]]
    recording.save(path, backend.inputs, specs, [[array for _, array in f] for f in changed])
    names = ", ".join(f'"{name}"' for name in LABELS)
    path.with_suffix(".toml").write_text(f"labels = [{names}]\n")
    return path


def as_it_is(spec: TensorSpec, array: np.ndarray) -> tuple[TensorSpec, np.ndarray]:
    return spec, array


def nhwc(spec: TensorSpec, array: np.ndarray) -> tuple[TensorSpec, np.ndarray]:
    """Channels last, under another name."""
    moved = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    return TensorSpec("x" + spec.name[::-1], moved.shape, moved.dtype, "nhwc"), moved


def int16(spec: TensorSpec, array: np.ndarray) -> tuple[TensorSpec, np.ndarray]:
    """On a grid of 16 bits, ±256."""
    scale = np.float32(1 / 128)
    stored = np.rint(array / scale).astype(np.int16)
    return TensorSpec(
        spec.name, stored.shape, stored.dtype, "nchw", Quantization.per_tensor(float(scale))
    ), stored


def is_box(spec: TensorSpec) -> bool:
    return spec.shape[1] % 4 == 0 and spec.shape[1] != len(LABELS)


def probable(spec: TensorSpec, array: np.ndarray) -> tuple[TensorSpec, np.ndarray]:
    """Classes after the sigmoid."""
    return spec, array if is_box(spec) else sigmoid(array).astype(np.float32)


def dim(spec: TensorSpec, array: np.ndarray) -> tuple[TensorSpec, np.ndarray]:
    """Class logits 2 lower: scores fall."""
    return spec, array if is_box(spec) else array - np.float32(2)


def compared(command: Command, a: object, b: object, *more: object) -> tuple[int, dict]:
    code, out, err = command("compare", a, b, "--json", *more)
    assert err == ""
    return code, json.loads(out)


def test_a_model_is_equal_to_itself_recorded(
    command: Command, scenes: Path, recorded: tuple, tmp_path: Path
) -> None:
    """Whatever the layout, names and order of the outputs are; frame by frame."""
    for change, order in ((as_it_is, 1), (nhwc, -1), (int16, 1), (probable, -1)):
        path = save(tmp_path / f"{change.__name__}.npz", recorded, change, order)
        limits = ("--max-mismatched", 0, "--atol", 0.01 if change is int16 else 0.001)
        code, got = compared(command, "bundled", path, "--images", scenes, *limits)
        assert (code, got["verdict"]) == (0, "within limits" if change is int16 else "equal")
        found = got["detections"]
        assert found["a"] == found["matched"] > 5
        assert (found["lost"], found["extra"], len(got["pictures"])) == (0, 0, COUNT)
        assert min(one["cosine"] for one in got["outputs"]) > 0.999
        mixed = [one["output"] for one in got["outputs"] if one["output"].startswith("cls_8 ")]
        both = ["cls_8 logits", "cls_8 probabilities"]
        assert mixed == (both if change is not probable else both[1:])


def test_classes_are_matched_by_name(
    command: Command, scenes: Path, recorded: tuple, tmp_path: Path
) -> None:
    """Channels, and labels, in another order: nothing has changed for who reads names."""

    def turned(spec: TensorSpec, array: np.ndarray) -> tuple[TensorSpec, np.ndarray]:
        return spec, array if is_box(spec) else np.ascontiguousarray(array[:, ::-1])

    path = save(tmp_path / "turned.npz", recorded, turned)
    names = ", ".join(f'"{name}"' for name in LABELS[::-1])
    path.with_suffix(".toml").write_text(f"labels = [{names}]\n")
    code, got = compared(command, "bundled", path, "--images", scenes)
    assert (code, got["detections"]["matched_share"]) == (0, 1)
    assert got["notes"] == ["the labels differ: detections are matched by name, outputs by channel"]


def test_two_recordings_need_no_pictures(command: Command, recorded: tuple, tmp_path: Path) -> None:
    a, b = (save(tmp_path / f"{c.__name__}.npz", recorded, c) for c in (as_it_is, dim))
    code, got = compared(command, a, b)
    assert code == 1
    assert got["verdict"] == "beyond limits"
    assert len(got["pictures"]) == COUNT
    found, outputs = got["detections"], {one["output"]: one for one in got["outputs"]}
    assert found["score_shift_mean"] < -0.03
    assert outputs["box_8"]["mismatched"] == 0
    cls = outputs["cls_8 logits"]
    assert cls["mismatched"] == cls["elements"]
    assert cls["max_absolute"] == pytest.approx(2, abs=1e-5)
    assert cls["highest_b"] == pytest.approx(cls["highest_a"] - 2, abs=1e-4)
    lenient = ("--max-score-shift", 1, "--min-matched", 0)
    assert compared(command, a, b, *lenient)[1]["verdict"] == "within limits"
    code, got = compared(command, a, b, *lenient, "--max-mismatched", 0.5, "--min-cosine", 0.9999)
    assert code == 1
    assert any("cls_8 logits: mismatched elements 100.00%" in line for line in got["beyond"])
    assert any("cosine" in line for line in got["beyond"])


def test_heads_that_differ_are_compared_by_detections(
    command: Command, scenes: Path, recorded: tuple, tmp_path: Path
) -> None:
    detector, _ = recorded
    rows = []
    for path in sorted(scenes.glob("*.png")):
        seen = detector.observe(Frame(cv2.imread(str(path))))
        found, box, out = seen.found, seen.letterbox, np.zeros((1, 300, 6), np.float32)
        xy = np.array([box.scale_x, box.scale_y] * 2), np.array([box.pad_x, box.pad_y] * 2)
        out[0, : len(found), :4] = found.boxes * xy[0] + xy[1]
        out[0, : len(found), 4], out[0, : len(found), 5] = found.scores, found.class_ids
        rows.append([out])
    path = tmp_path / "rows.npz"
    spec = TensorSpec("rows", (1, 300, 6), np.dtype(np.float32))
    recording.save(path, detector.backend.inputs, [spec], rows)
    code, got = compared(command, "bundled", path, "--images", scenes)
    assert (code, got["verdict"], got["outputs"]) == (0, "equal", [])
    (note,) = got["notes"]
    assert re.fullmatch(r"only detections are compared: the heads differ, \w+ and end2end", note)


def test_an_npz_of_outputs_by_name(
    command: Command, scenes: Path, recorded: tuple, tmp_path: Path
) -> None:
    detector, frames = recorded
    path = tmp_path / "dump.npz"
    outputs = zip(*frames)
    np.savez(path, **{f"any{k}": np.concatenate(arrays) for k, arrays in enumerate(outputs)})
    code, got = compared(command, "bundled", path, "--images", scenes)
    assert (code, got["verdict"]) == (0, "equal")
    code, _, err = command("compare", path, path)
    assert code == 2
    assert "dump.npz: expected --size" in err
    height, width = detector.input.size
    assert command("compare", path, path, "--size", f"{width}x{height}")[0] == 0


def test_a_recording_of_a_daemon(command: Command, scenes: Path, tmp_path: Path) -> None:
    """With its own pictures, with those given, and beside another recording."""
    film, bare = tmp_path / "film.mcap", tmp_path / "bare.mcap"
    for path, frames in ((film, "raw"), (bare, "none")):
        source = ("--source", f"a={scenes}", "--every-frame", "--frames", frames)
        assert command("record", *source, "--out", path)[0] == 0
    for arguments in (("bundled", film), (bare, "bundled", "--images", scenes), (film, bare)):
        code, got = compared(command, *arguments)
        assert (code, got["verdict"], len(got["pictures"])) == (0, "equal", COUNT)
        assert got["detections"]["matched"] > 5
    code, _, err = command("compare", "bundled", bare)
    assert code == 2
    assert "bare.mcap has none of its own" in err


def test_nothing_found_is_no_agreement(command: Command, recorded: tuple, tmp_path: Path) -> None:
    flat = save(tmp_path / "flat.npz", recorded, lambda s, a: (s, a - np.float32(30)))
    other = save(tmp_path / "other.npz", recorded, lambda s, a: (s, a - np.float32(31)))
    code, got = compared(command, flat, other)
    assert code == 1
    assert got["beyond"] == ["neither finds anything in these pictures: nothing to judge by"]
    assert compared(command, flat, flat)[0] == 0


def test_text_and_report(command: Command, recorded: tuple, tmp_path: Path) -> None:
    a, b = (save(tmp_path / f"{c.__name__}.npz", recorded, c) for c in (as_it_is, dim))
    report = tmp_path / "report.html"
    code, out, _ = command("compare", a, b, "--html", report)
    assert code == 1
    assert "beyond limits: " in out.splitlines()[-1]
    assert max(map(len, out.splitlines()[2:-1])) <= 110
    page = report.read_text()
    assert page.count("<svg") == page.count("</svg>") == 3
    assert not re.search(r'<script|<link|<img|src=|href="http', page), "loads something"
    assert "prefers-color-scheme: dark" in page
    assert "#1b1f24" not in page.split("</style>")[1], "a colour that does not go dark"
    assert command("compare", a, b, "--html", tmp_path / "report2.html")[0] == 1
    assert (tmp_path / "report2.html").read_text() == page


def test_mistakes_are_one_line(
    command: Command, scenes: Path, recorded: tuple, tmp_path: Path
) -> None:
    path = save(tmp_path / "r.npz", recorded, as_it_is)
    (tmp_path / "no.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "int.npz", a=np.zeros((1, 4, 8, 8), np.int8))
    for arguments, code, message in [
        (("bundled", "bundled"), 2, "--images: expected pictures, which models need"),
        (("bundled", "none.onnx", "--images", scenes), 1, "none.onnx: "),
        (("bundled", path, "--images", scenes / "0.png"), 2, f"expected the {COUNT} pictures that"),
        (("bundled", tmp_path / "no.npz", "--images", scenes), 1, "expected an .npz of outputs"),
        (("bundled", tmp_path / "int.npz", "--images", scenes), 1, "a: expected floats [frames"),
        ((path, path, "--size", "640"), 2, "--size: expected WIDTHxHEIGHT"),
        ((path, path, "--min-matched", "2"), 2, "--min-matched"),
        ((path, path, "--html", "/dev/null/x"), 2, "/dev/null/x: cannot write the report"),
    ]:
        got, out, err = command("compare", *arguments)
        assert (got, out) == (code, "")
        assert message in err
        assert err.count("\n") == 1


def test_a_recording_plays_from_any_frame(recorded: tuple, tmp_path: Path) -> None:
    detector, frames = recorded
    path = save(tmp_path / "r.npz", recorded, as_it_is)
    settings = config.Model(path=str(path))
    replayed = Detector(read_model(settings), settings, config.Backend())
    assert isinstance(replayed.backend, ReplayBackend)
    assert replayed.backend.frames == COUNT
    replayed.backend.seek(2)
    blank = Frame(np.zeros((*detector.input.size, 3), np.uint8))
    assert (replayed.observe(blank).outputs[0] == frames[2][0]).all()


@pytest.mark.shared
def test_a_cut_model_is_equal_to_the_uncut(command: Command, shared: Path, tmp_path: Path) -> None:
    model, image = shared / "models/yolov8n.onnx", shared / "data/bus.jpg"
    assert command("prepare", model, "--layout", "drobotics", "-o", tmp_path)[0] == 0
    for path in sorted(tmp_path.glob("*.onnx")):
        code, got = compared(command, model, path, "--images", image)
        assert (code, got["verdict"], got["detections"]["matched"]) == (0, "equal", 5)


@pytest.mark.shared
def test_the_vendors_simulators_dumps(command: Command, shared: Path) -> None:
    """A healthy and a dead conversion: the dead one has the higher cosine of logits at stride 8."""
    folder = shared / "models/bin"
    float_, good, dead = (
        folder / f"yolo26n_{name}_bus.npz"
        for name in ("float", "int8", "int8_calibrated_twice_scaled")
    )
    size = ("--size", "640x640")
    assert compared(command, float_, good, *size)[0] == 0
    code, got = compared(command, float_, dead, *size)
    assert code == 1
    assert (got["detections"]["a"], got["detections"]["b"]) == (5, 0)
