"""`npud calib` on generated sets, each with one defect; a healthy one is told healthy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from npud.errors import ModelError
from runtime.calib.pick import pick
from runtime.calib.sample import dhash, sample_of
from runtime.calib.tensor import read_tensor

Command = Callable[..., tuple[int, str, str]]
SIZE = (64, 96)  # (height, width) of the model's input


def picture(seed: int, size: tuple[int, int] = (72, 108), level: float | None = None) -> np.ndarray:
    """Soft coloured noise of its own brightness and contrast, warmer than grey."""
    random = np.random.default_rng(seed)
    coarse = random.normal(0, 1, (9, 12, 3)) * random.uniform(20, 60)
    mean = random.uniform(60, 190) if level is None else level
    soft = cv2.resize(coarse.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    return (soft + mean + np.array([-12, 0, 12])).clip(0, 255).astype(np.uint8)


def images(folder: Path, count: int = 110, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for k in range(count):
        cv2.imwrite(str(folder / f"{k:03}.png"), picture(k, **changes))
    return folder


def tensors(
    folder: Path, make: Callable[[np.ndarray], np.ndarray], suffix: str = ".npy", count: int = 100
) -> Path:
    """`make` gets (H, W, 3) RGB, float32, 0..255."""
    folder.mkdir(exist_ok=True)
    for k in range(count):
        rgb = picture(k, SIZE)[..., ::-1].astype(np.float32)
        stored = np.ascontiguousarray(make(rgb))
        path = folder / f"{k:03}{suffix}"
        np.save(path, stored) if suffix == ".npy" else stored.tofile(path)
    return folder


def nchw(rgb: np.ndarray) -> np.ndarray:
    return rgb.transpose(2, 0, 1)[None]


@pytest.fixture
def run(command: Command, tmp_path: Path) -> Callable[..., dict[str, dict[str, str]]]:
    """Findings by name; the exit code must be 1 exactly where one is a problem."""
    manifest = tmp_path / "m.toml"
    manifest.write_text(f'[input]\nsize = {list(SIZE)}\ncolor = "rgb"\nlayout = "nchw"\n')

    def check(folder: Path, *options: object) -> dict[str, dict[str, str]]:
        code, out, err = command("calib", folder, "--manifest", manifest, *options, "--json")
        assert err == ""
        found: list[dict[str, str]] = json.loads(out)["findings"]
        assert code == any(one["level"] == "problem" for one in found)
        assert all(one["remedy"] for one in found if one["level"] == "problem")
        return {one["name"]: one for one in found}

    return check


Run = Callable[..., dict[str, dict[str, str]]]


def not_ok(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: one["level"] for name, one in found.items() if one["level"] != "ok"}


def test_a_healthy_set_is_healthy(run: Run, tmp_path: Path) -> None:
    assert not_ok(run(images(tmp_path / "set"))) == {}


def test_healthy_tensors_are_healthy(run: Run, tmp_path: Path) -> None:
    found = run(tensors(tmp_path / "set", nchw))
    assert not_ok(found) == {}
    assert "100 float32 NCHW" in found["layout"]["text"]
    assert "cannot be read from them" in found["colours"]["text"]


def test_few_pictures(run: Run, tmp_path: Path) -> None:
    found = run(images(tmp_path / "set", 15))
    assert not_ok(found) == {"count": "warning"}
    assert "15 pictures, 100 are advised; ranges then hang" in found["count"]["text"]


def test_a_file_that_is_no_picture(run: Run, tmp_path: Path) -> None:
    folder = images(tmp_path / "set")
    (folder / "broken.jpg").write_bytes(b"no image")
    found = run(folder)
    assert not_ok(found) == {"readable": "problem"}
    assert "broken.jpg" in found["readable"]["text"]


@pytest.mark.parametrize(("copies", "level"), [(5, "ok"), (30, "warning"), (150, "problem")])
def test_near_duplicates(run: Run, tmp_path: Path, copies: int, level: str) -> None:
    """Frames of a standing camera: the same picture with noise, in another size and encoding."""
    folder = images(tmp_path / "set", 100)
    noise = np.random.default_rng(1)
    again = cv2.resize(picture(0), (140, 90)).astype(np.float32)
    for k in range(copies):
        noisy = (again + noise.normal(0, 3, again.shape)).clip(0, 255)
        cv2.imwrite(str(folder / f"copy{k}.jpg"), noisy)
    found = run(folder)
    assert found["duplicates"]["level"] == level
    assert f"{copies} of {100 + copies} pictures nearly repeat" in found["duplicates"]["text"]


def test_black_pictures(run: Run, tmp_path: Path) -> None:
    folder = images(tmp_path / "set")
    for k in range(12):
        cv2.imwrite(str(folder / f"black{k}.png"), np.zeros((72, 108, 3), np.uint8))
    assert not_ok(run(folder)) == {"flat": "warning"}
    for path in folder.glob("0*.png"):
        path.unlink()
    found = run(folder)  # ten pictures and twelve black ones
    assert found["flat"]["level"] == "problem"
    assert "12 of 22" in found["flat"]["text"]


@pytest.mark.parametrize(("level", "word"), [(15.0, "mostly dark"), (120.0, "all alike")])
def test_one_light(run: Run, tmp_path: Path, level: float, word: str) -> None:
    found = run(images(tmp_path / "set", level=level))
    assert found["brightness"]["level"] == "warning"
    assert word in found["brightness"]["text"]


def test_one_contrast(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for k in range(110):
        pixels = picture(k).astype(np.float32)
        grey = pixels.mean(2)
        pixels = (pixels - grey.mean()) / grey.std() * 30 + grey.mean()
        cv2.imwrite(str(folder / f"{k}.png"), pixels.clip(0, 255))
    assert not_ok(run(folder)).get("contrast") == "warning"


def test_small_pictures(run: Run, tmp_path: Path) -> None:
    found = run(images(tmp_path / "set", size=(40, 60)))
    assert not_ok(found) == {"sizes": "warning"}
    assert "110 are smaller" in found["sizes"]["text"]


def test_another_aspect_is_told_and_harmless(run: Run, tmp_path: Path) -> None:
    found = run(images(tmp_path / "set", size=(100, 100)))
    assert not_ok(found) == {}
    assert "110 of 110 are of another aspect" in found["aspect"]["text"]


def test_grey_pictures(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for k in range(110):
        cv2.imwrite(str(folder / f"{k}.png"), cv2.cvtColor(picture(k), cv2.COLOR_BGR2GRAY))
    assert not_ok(run(folder)) == {"grey": "warning"}


DEFECTS: list[tuple[str, Callable[[np.ndarray], np.ndarray], dict[str, str], str]] = [
    ("scaling", lambda rgb: nchw(rgb / 255), {"scaling": "problem"}, "divided by 255 already"),
    ("scaling", lambda rgb: nchw(rgb / 127.5 - 1), {"scaling": "problem"}, "mean and std applied"),
    ("scaling", lambda rgb: nchw(rgb * np.nan), {"scaling": "problem", "count": ""}, "NaN"),
    ("layout", lambda rgb: rgb[None], {"layout": "problem"}, "the manifest says NCHW"),
    ("sizes", lambda rgb: nchw(rgb[:32]), {"sizes": "problem"}, "are not 96×64"),
]


@pytest.mark.parametrize(("name", "make", "levels", "text"), DEFECTS)
def test_tensors_made_otherwise(
    run: Run,
    tmp_path: Path,
    name: str,
    make: Callable[[np.ndarray], np.ndarray],
    levels: dict[str, str],
    text: str,
) -> None:
    found = run(tensors(tmp_path / "set", make))
    assert found[name]["level"] == "problem"
    assert text in found[name]["text"]
    if len(levels) == 1:
        assert not_ok(found) == levels


def test_mixed_tensors(run: Run, tmp_path: Path) -> None:
    folder = tensors(tmp_path / "set", nchw)
    np.save(folder / "x.npy", nchw(picture(7, SIZE).astype(np.float32) / 255))
    np.save(folder / "y.npy", picture(8, SIZE)[None])
    found = run(folder)
    assert "mixed: 101 0..255, 1 0..1" in found["scaling"]["text"]
    assert "mixed: 101 float32 NCHW, 1 uint8 NHWC" in found["layout"]["text"]


@pytest.mark.parametrize(("order", "level"), [("rgb", "ok"), ("bgr", "problem")])
def test_the_channel_order_shows_beside_images(
    run: Run, tmp_path: Path, order: str, level: str
) -> None:
    flip = 1 if order == "rgb" else -1
    folder = tensors(tmp_path / "set", lambda rgb: nchw(rgb[..., ::flip]))
    for k in range(0, 100, 5):
        cv2.imwrite(str(folder / f"{k:03}.png"), picture(k, SIZE))
    found = run(folder)
    assert found["colours"]["level"] == level
    assert (
        f"of 20 tensors beside an image of their name are {order.upper()}"
        in (found["colours"]["text"])
    )
    assert "100 pictures" in found["count"]["text"], "images beside tensors are not of the set"


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_raw_files_tell_type_by_length_and_layout_by_neighbours(
    run: Run, tmp_path: Path, dtype: str, layout: str
) -> None:
    def make(rgb: np.ndarray) -> np.ndarray:
        return (rgb if layout == "nhwc" else rgb.transpose(2, 0, 1)).astype(dtype)

    found = run(tensors(tmp_path / "set", make, ".bin"))
    assert f"100 {dtype} {layout.upper()} ({dtype} by its length" in found["layout"]["text"]
    assert found["layout"]["level"] == ("ok" if layout == "nchw" else "problem")


def test_raw_nv12(run: Run, tmp_path: Path) -> None:
    def make(rgb: np.ndarray) -> np.ndarray:
        i420 = cv2.cvtColor(rgb.astype(np.uint8), cv2.COLOR_RGB2YUV_I420)
        luma, chroma = i420[: SIZE[0]], i420[SIZE[0] :].reshape(2, -1)
        return np.concatenate([luma.ravel(), chroma.T.ravel()])

    found = run(tensors(tmp_path / "set", make, ".bin"))
    assert not_ok(found) == {}
    assert "100 uint8 NV12" in found["layout"]["text"]


def test_a_raw_file_needs_the_models_size(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    np.zeros((3, 640, 640), np.float32).tofile(folder / "a.bin")
    code, out, _ = command("calib", folder)
    assert code == 1
    assert "it may be float32 640x640" in " ".join(out.split())
    code, out, _ = command("calib", folder, "--size", "320x320")
    assert code == 1
    assert "got 4915200" in " ".join(out.split())


def test_damaged_tensors_are_told(tmp_path: Path) -> None:
    """Any bytes are a tensor or a ModelError, never something else."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((1, 3, 16, 16), np.float32))
    whole, random = path.read_bytes(), np.random.default_rng(1)
    refused = 0
    for k in range(300):
        data = bytearray(whole[: random.integers(0, len(whole))] if k % 2 else whole)
        for at in random.integers(0, max(1, min(len(data), 128)), 3):
            data[at : at + 1] = random.bytes(1)
        path.write_bytes(data)
        try:
            read_tensor(path, (16, 16))
        except ModelError:
            refused += 1
    assert refused > 200


def test_the_cameras_light_must_be_in_the_set(run: Run, tmp_path: Path) -> None:
    folder = images(tmp_path / "set")
    same = images(tmp_path / "same", 10)
    dark = images(tmp_path / "dark", 10, level=3.0)
    assert run(folder, "--camera", same)["camera"]["level"] == "ok"
    found = run(folder, "--camera", dark, "--frames", 5)["camera"]
    assert found["level"] == "warning"
    assert "5 frames of the camera lie outside the set: brightness" in found["text"]


def test_picked_pictures_are_diverse_and_always_the_same(command: Command, tmp_path: Path) -> None:
    """Ten groups of eleven near-duplicates: ten picked ones are one of each group."""
    folder = tmp_path / "set"
    folder.mkdir()
    noise = np.random.default_rng(1)
    for group in range(10):
        for k in range(11):
            pixels = picture(group) + noise.normal(0, 2, (72, 108, 3))
            cv2.imwrite(str(folder / f"{k:02}-{group}.png"), pixels.clip(0, 255))
    chosen = tmp_path / "dataset.txt"
    arguments = ["calib", folder, "--pick", 10, "--list", chosen]
    assert command(*arguments)[0] == 1  # the set itself is full of duplicates
    first = chosen.read_text()
    assert sorted(Path(line).stem[-1] for line in first.splitlines()) == list("0123456789")
    command(*arguments)
    assert chosen.read_text() == first
    code, out, _ = command("calib", chosen, "--json")
    assert code == 0, "the list is a set of its own"
    assert json.loads(out)["pictures"] == 10
    assert "duplicates" not in not_ok({f["name"]: f for f in json.loads(out)["findings"]})


def test_more_cannot_be_picked_than_there_are(tmp_path: Path) -> None:
    samples = [sample_of(Path(f"{k}"), picture(k)) for k in range(5)]
    assert len(pick(samples, 99)) == 5
    assert pick([], 3) == []


def test_a_hash_survives_size_and_encoding() -> None:
    pixels = cv2.cvtColor(picture(3, (480, 640)), cv2.COLOR_BGR2GRAY)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 0)
    small = cv2.resize(jpeg, (200, 170), interpolation=cv2.INTER_AREA)
    assert (dhash(pixels) != dhash(small)).sum() <= 2
    other = cv2.cvtColor(picture(4, (480, 640)), cv2.COLOR_BGR2GRAY)
    assert (dhash(pixels) != dhash(other)).sum() > 15


def test_mistakes_are_one_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"x")
    for arguments, code, message in (
        (["nowhere"], 1, "nowhere: expected a directory, or a .txt with a path on each line"),
        ([tmp_path / "empty"], 1, "expected images, .npy or .bin files, found none"),
        ([tmp_path / "a.jpg"], 1, "got a file"),
        ([tmp_path, "--manifest", "no.toml"], 2, "no.toml: No such file"),
        ([tmp_path, "--list", "x"], 2, "--list needs --pick N"),
        ([tmp_path, "--size", "64"], 2, "expected WIDTHxHEIGHT, such as 640x480, got '64'"),
        ([tmp_path, "--pick", "0"], 2, "0 is not in the range"),
        ([tmp_path, "--camera", "nocam.mp4"], 1, "nocam.mp4"),
    ):
        got, out, err = command("calib", *arguments)
        assert (got, out) == (code, ""), arguments
        assert message in err
        assert err.count("\n") == 1
