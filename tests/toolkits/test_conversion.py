"""What the toolkits are given, and what is recorded of it: without the toolkits."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from npud.errors import ConfigError, InferenceError, ModelError
from postprocess.tensor import Quantization, TensorSpec
from runtime import bundled, models
from runtime.backends.hobot_sim import yuv444_of_nv12
from runtime.backends.requantize import as_stored
from runtime.cli.convert import as_text, command, settings_of
from runtime.drafting.dump import dump
from runtime.golden.verdict import Figures, Verdict
from runtime.input_spec import InputSpec
from runtime.models import manifest as manifests
from runtime.toolkits import calibration, drobotics, record, rockchip
from runtime.toolkits.convert import Converted
from runtime.toolkits.job import Job, Made
from runtime.toolkits.targets import TARGETS, target_of

RNG = np.random.default_rng(5)


def job(**changes: object) -> Job:
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    values: dict[str, object] = {
        "source": Path("a.onnx"), "input_name": "images", "target": "bayes-e",
        "quantization": "int8", "color": "rgb", "mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0),
        "settings": {}, "pictures": pictures, "output": Path("a.bin"), "folder": Path("a.conversion"),
    }  # fmt: skip
    return Job(**{**values, **changes})  # type: ignore[arg-type]


def letterboxed(bgr: NDArray[np.uint8], side: int, pad: int, order: str) -> NDArray[np.float64]:
    """What is fed, written with NumPy alone: bilinear with half-pixel centres, grey around it."""
    height, width = bgr.shape[:2]
    scale = min(side / width, side / height)
    inner_h, inner_w = round(height * scale), round(width * scale)
    canvas = np.full((side, side, 3), float(pad))

    def places(
        size: int, inner: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        at = ((np.arange(inner) + 0.5) * size / inner - 0.5).clip(0, size - 1)
        low = np.floor(at).astype(np.intp)
        return low, np.minimum(low + 1, size - 1), at - low

    y0, y1, fy = places(height, inner_h)
    x0, x1, fx = places(width, inner_w)
    wide = bgr.astype(np.float64)
    fy, fx = fy[:, None, None], fx[None, :, None]
    top = wide[y0][:, x0] * (1 - fx) + wide[y0][:, x1] * fx
    bottom = wide[y1][:, x0] * (1 - fx) + wide[y1][:, x1] * fx
    y, x = (side - inner_h) // 2, (side - inner_w) // 2
    canvas[y : y + inner_h, x : x + inner_w] = top * (1 - fy) + bottom * fy
    return canvas[..., ::-1] if order == "rgb" else canvas


@pytest.mark.parametrize(("shape", "color", "exact"), [
    ((64, 48), "rgb", True), ((64, 48), "bgr", True), ((40, 128), "rgb", False), ((33, 20), "rgb", False),
])  # fmt: skip
def test_calibration_pictures_are_bytes_as_deployed(
    shape: tuple[int, int], color: str, exact: bool
) -> None:
    picture = RNG.integers(0, 256, (*shape, 3), np.uint8)
    picture = cv2.GaussianBlur(picture, (5, 5), 0)
    spec = InputSpec((64, 64), color=color, pad_value=114)  # type: ignore[arg-type]
    (got,) = calibration.tensors([picture], spec)
    expected = letterboxed(picture, 64, 114, color)
    assert got.dtype == np.uint8
    assert got.max() > 100  # never divided by 255
    assert np.abs(got - expected).max() <= (0 if exact else 1)


def test_pictures_are_spread_and_their_digest_tells_them_apart(tmp_path: Path) -> None:
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number * 20, np.uint8))
    few = calibration.read(tmp_path, InputSpec((8, 8)), 4)
    assert few.pictures[:, 4, 4, 0].tolist() == [0, 40, 100, 140]
    assert few.source == tmp_path.name
    every = calibration.read(tmp_path, InputSpec((8, 8)), 50)
    assert len(every.pictures) == 10
    assert every.digest != few.digest
    (tmp_path / "set.txt").write_text("3.png\n\n1.png\n")
    listed = calibration.read(tmp_path / "set.txt", InputSpec((8, 8)), 50)
    assert listed.pictures[:, 4, 4, 0].tolist() == [60, 20]
    with pytest.raises(
        ConfigError, match=r"--calibration: .*/none: expected a directory.*got no such file"
    ):
        calibration.read(tmp_path / "none", InputSpec((8, 8)), 4)


def test_the_mapper_scales_and_nobody_else() -> None:
    config = drobotics.mapper_config(
        job(settings={"calibration_type": "max", "optimize_level": "O0"})
    )
    given = config["input_parameters"]
    assert given["norm_type"] == "data_scale"
    assert [float(v) for v in given["scale_value"].split()] == pytest.approx(
        [1 / 255] * 3, rel=1e-11
    )
    assert (given["input_type_train"], given["input_type_rt"]) == ("rgb", "nv12")
    assert config["calibration_parameters"]["calibration_type"] == "max"
    assert config["calibration_parameters"]["preprocess_on"] is False
    assert config["compiler_parameters"]["optimize_level"] == "O0"
    recorded = drobotics.parameters(config)
    assert recorded["optimize_level"] == "O0"
    assert "onnx_model" not in recorded


@pytest.mark.parametrize(("mean", "std", "expected"), [
    ((0, 0, 0), (1, 1, 1), {"norm_type": "no_preprocess"}),
    ((1, 2, 3), (1, 1, 1), {"norm_type": "data_mean", "mean_value": "1 2 3"}),
    ((1, 2, 3), (4, 5, 8), {"norm_type": "data_mean_and_scale", "mean_value": "1 2 3",
                            "scale_value": "0.25 0.2 0.125"}),
])  # fmt: skip
def test_normalisation_in_the_mappers_words(
    mean: tuple[float, ...], std: tuple[float, ...], expected: dict[str, str]
) -> None:
    assert drobotics.normalisation(mean, std) == expected


@pytest.mark.parametrize(("key", "message"), [
    ("scale_value", "npud sets it: the manifest's input.std"),
    ("input_parameters.norm_type", "npud sets it"),
    ("calibration_typ", r"expected section.calibration_typ, or one of .*calibration_type"),
])  # fmt: skip
def test_settings_that_the_mapper_cannot_be_given(key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        drobotics.mapper_config(job(settings={key: 1}))


def test_rknn_gets_mean_and_std_and_records_them() -> None:
    recorded = rockchip.parameters(job(settings={"quantized_algorithm": "mmse"}))
    assert recorded == {
        "mean_values": [[0.0, 0.0, 0.0]],
        "std_values": [[255.0, 255.0, 255.0]],
        "do_quantization": True,
        "quantized_algorithm": "mmse",
    }


def test_targets() -> None:
    assert target_of("rk3588", "fp16").simulator == "rknn-sim"
    assert target_of("rdkx5", "int8").suffix == ".bin"
    with pytest.raises(ConfigError, match=r"unknown target rk3599; did you mean rk3\d+\?"):
        target_of("rk3599", "int8")
    with pytest.raises(ConfigError, match="expected int8 for rdkx5, got fp16"):
        target_of("rdkx5", "fp16")


def test_settings_may_be_json() -> None:
    given = settings_of(['a=["x"]', "b=mmse", "c=3", "d=false", "e=x=y"])
    assert given == {"a": ["x"], "b": "mmse", "c": 3, "d": False, "e": "x=y"}
    with pytest.raises(ConfigError, match="--set: expected KEY=VALUE, got 'a'"):
        settings_of(["a"])


def test_a_manifest_survives_being_written(tmp_path: Path) -> None:
    own = manifests.read(manifests.beside(bundled.MODEL))
    made = msgspec.structs.replace(
        own,
        digest="0123456789ab",
        labels=('a "quoted" one', "ümlaut\\", "[x]"),
        anchors=(((1.5, 2.0), (3.0, 4.0)),),
        conversion=manifests.Conversion(
            toolkit="t", parameters={"a b": "x", "n": 1.5, "yes": True}
        ),
        calibration=manifests.Calibration(
            count=3, digest="0123456789ab", source="dir", method="max"
        ),
    )
    path = tmp_path / "m.toml"
    path.write_text(dump(made, "Made\nby hand"))
    assert manifests.read(path) == made
    path.write_text(dump(manifests.Manifest()))
    assert manifests.read(path) == manifests.Manifest()


def test_integers_are_those_of_the_grid() -> None:
    path = Path("m.rknn")
    stored = RNG.integers(-128, 128, (1, 4, 3, 5)).astype(np.int8)
    spec = TensorSpec("a", stored.shape, stored.dtype, "nchw", Quantization.per_tensor(0.1324, -63))
    real = ((stored.astype(np.float32) + 63) * np.float32(0.1324)).astype(np.float32)
    got = as_stored(path, real, spec)
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, stored)
    with pytest.raises(InferenceError, match="it runs another model"):
        as_stored(path, real * np.float32(1.01), spec)
    with pytest.raises(InferenceError, match=r"expected \[1, 4, 3, 5\], as the file says"):
        as_stored(path, real[:, :3], spec)
    half = as_stored(path, real, TensorSpec("a", stored.shape, np.dtype(np.float16), "nchw"))
    np.testing.assert_array_equal(half, real.astype(np.float16))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_integers_per_channel(layout: str) -> None:
    shape = (1, 3, 4, 5) if layout == "nchw" else (1, 4, 5, 3)
    wide = (1, 3, 1, 1) if layout == "nchw" else (3,)
    stored = RNG.integers(-(2**20), 2**20, shape).astype(np.int32)
    scale = np.array([1e-4, 3e-5, 0.02], np.float32)
    grid = Quantization(scale, np.zeros(3, np.int32))
    spec = TensorSpec("a", shape, stored.dtype, layout, grid)  # type: ignore[arg-type]
    real = stored.astype(np.float64) * scale.reshape(wide)
    np.testing.assert_array_equal(as_stored(Path("m.bin"), real, spec), stored)


def test_chroma_is_repeated_as_the_bpu_does() -> None:
    picture = RNG.integers(0, 256, (6, 8), np.uint8)  # 4 × 8 pixels
    got = yuv444_of_nv12(picture)
    assert got.shape == (1, 4, 8, 3)
    for y in range(4):
        for x in range(8):
            u, v = picture[4 + y // 2, x // 2 * 2], picture[4 + y // 2, x // 2 * 2 + 1]
            assert got[0, y, x].tolist() == [picture[y, x], u, v]


def made_by_convert(tmp_path: Path, toolkit: str = rockchip.NAME) -> Path:
    """A file with a record that fits it."""
    source, model = tmp_path / "a.onnx", tmp_path / "a.rknn"
    source.write_bytes(b"source")
    model.write_bytes(b"model")
    folder = record.folder_of(model)
    folder.mkdir()
    made = record.Record(
        version=1, toolkit=toolkit, toolkit_version="2.5.0", target="rk3588", quantization="int8",
        source="../a.onnx", source_digest=models.digest(source), model_digest=models.digest(model),
        input_name="images", color="rgb", mean=(0, 0, 0), std=(255, 255, 255), settings={"a": ["b"]},
    )  # fmt: skip
    record.write(folder, made, np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3))
    return model


def test_a_record_is_read_back_and_belongs_to_its_files(tmp_path: Path) -> None:
    model = made_by_convert(tmp_path)
    made, folder = record.read(model, rockchip.NAME)
    assert made.settings == {"a": ["b"]}
    assert record.source_of(model, made, folder) == (tmp_path / "a.onnx").resolve()
    pictures = record.pictures_of(made, folder)
    assert pictures is not None
    assert pictures.ravel().tolist() == list(range(48))

    (tmp_path / "a.onnx").write_bytes(b"other source")
    with pytest.raises(
        ModelError, match=r"a.onnx: expected digest \w{12}, got \w{12}: it has changed since"
    ):
        record.source_of(model, made, folder)
    (tmp_path / "a.onnx").unlink()
    with pytest.raises(ModelError, match=r"a.onnx: No such file"):
        record.source_of(model, made, folder)
    (folder / record.PICTURES).unlink()
    with pytest.raises(ModelError, match="expected calibration pictures"):
        record.pictures_of(made, folder)
    model.write_bytes(b"another model")
    with pytest.raises(ModelError, match="is that of another file"):
        record.read(model, rockchip.NAME)
    with pytest.raises(
        ModelError, match="expected a model of rdkx5-yolo-mapper, got rknn-toolkit2"
    ):
        record.read(model, drobotics.NAME)
    with pytest.raises(ModelError, match="expected what npud convert wrote"):
        record.read(tmp_path / "b.rknn", rockchip.NAME)


def run(*arguments: str) -> Exception:
    result = CliRunner().invoke(command, arguments)
    assert result.exception is not None
    assert isinstance(result.exception, Exception)
    return result.exception


def test_wrong_usage_is_told_before_anything_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPUD_TOOLKITS", str(tmp_path / "toolkits"))
    model, pictures = str(bundled.MODEL), tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "a.png"), np.zeros((8, 8, 3), np.uint8))
    cases = {
        "--calibration: expected a folder": [model, "--target", "rk3588"],
        "unknown target": [model, "--target", "rk1"],
        "--optimize: expected none for rk3588": [model, "--target", "rk3588", "--optimize", "O1"],
        "--optimize: expected O0, O1, O2 or O3, got O9": [model, "--target", "rdkx5", "--optimize", "O9",
                                                          "--calibration", str(pictures)],
        "--set mean_values: npud sets it": [model, "--target", "rk3588", "--set", "mean_values=0",
                                            "--calibration", str(pictures)],
        "expected an .onnx file": [str(Path(__file__)), "--target", "rk3588"],
        "no such file": ["none.onnx", "--target", "rk3588"],
        r"expected a file \*.rknn": [model, "--target", "rk3588", "-o", str(tmp_path / "a.bin"),
                                     "--calibration", str(pictures)],
    }  # fmt: skip
    for message, arguments in cases.items():
        error = run(*arguments)
        with pytest.raises(type(error), match=message):
            raise error
    assert not (tmp_path / "toolkits").exists()


def test_help_shows_an_example() -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    assert "npud convert cut/yolov8n.npu-sigmoid.onnx --target rk3588" in text
    assert all(name in text for name in TARGETS)


def test_the_text_where_nothing_matched(tmp_path: Path) -> None:
    model = tmp_path / "m.bin"
    model.write_bytes(b"model")
    made = Made("1.0.0", {}, "")
    done = Converted(model, TARGETS["rdkx5"], drobotics.NAME, made, None)
    nan = float("nan")
    figures = Figures(
        reference=10, found=0, matched=0, weaker=0, matched_any=0, extra=0,
        score_shift=nan, iou=nan, peak=-5.3, reference_peak=2.9,
    )  # fmt: skip
    text = as_text(
        done, tmp_path / "m.toml", Verdict("dead", "it finds nothing", "calibrate", figures)
    )
    assert "verified in hobot-sim: dead" in text
    assert "0 of 10 reference detections matched, 0 others\n" in text
    assert "+nan" not in text
    assert text.endswith("it finds nothing; calibrate")
