"""Recordings: written and read again, damaged and hostile ones."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from npud.errors import ModelError
from postprocess.tensor import Quantization, TensorSpec
from runtime import models
from runtime.backends import open_backend
from runtime.backends.base import BackendOptions
from runtime.models import recording

PICTURE = TensorSpec("images", (1, 8, 8, 3), np.dtype(np.uint8), "nhwc")
OUTPUTS = (
    TensorSpec("a", (1, 2, 4, 4), np.dtype(np.int8), "nchw", Quantization.per_tensor(0.1, -3)),
    TensorSpec("b", (1, 4, 4, 2), np.dtype(np.int32), "nhwc",
               Quantization(np.float32([0.1, 0.2]), np.int32([0, 0]))),
    TensorSpec("c", (1, 5), np.dtype(np.float16)),
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    frames = [[np.full(s.shape, n, s.dtype) for s in OUTPUTS] for n in range(3)]
    recording.save(tmp_path / "r.npz", [PICTURE], OUTPUTS, frames)
    return tmp_path / "r.npz"


def test_what_was_written_is_read(path: Path) -> None:
    info = models.describe(path)
    assert (info.format, info.input_size) == ("recording", (8, 8))
    for ours, theirs in zip(OUTPUTS, info.outputs):
        assert (ours.name, ours.shape, ours.dtype, ours.layout) == (
            theirs.name, theirs.shape, theirs.dtype, theirs.layout,
        )  # fmt: skip
        if ours.quantization is None or theirs.quantization is None:
            assert ours.quantization is theirs.quantization
        else:
            np.testing.assert_array_equal(ours.quantization.scale, theirs.quantization.scale)
            np.testing.assert_array_equal(ours.quantization.zero_point, theirs.quantization.zero_point)  # fmt: skip


def test_frames_come_in_order_and_over_again_shared_by_duplicates(path: Path) -> None:
    first = open_backend("auto", path, BackendOptions())
    twin = first.duplicate()
    picture = [np.zeros(PICTURE.shape, np.uint8)]
    got = [int(b.infer(picture)[0].flat[0]) for b in (first, twin, first, twin, first)]
    assert got == [0, 1, 2, 0, 1]
    with pytest.raises(ValueError, match="read-only"):
        first.infer(picture)[0][...] = 7


def test_every_truncation_is_refused(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    cut = tmp_path / "cut.npz"
    for size in range(0, len(whole), 7):
        cut.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"model \S+: expected a recording, got: "):
            models.describe(cut)


def test_damage_anywhere_is_refused_or_harmless(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    odd = tmp_path / "odd.npz"
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        data[random.integers(len(data))] ^= int(random.integers(1, 256))
        odd.write_bytes(data)
        try:
            models.describe(odd)
        except ModelError:  # anything else fails the test
            refused += 1
    assert refused > 100


SPEC = '{"version": 1, "inputs": [], "outputs": [{"name": "a", "shape": [2], "dtype": "int8"}]}'


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "spec"),
        ({"spec": "{"}, "truncated"),
        ({"spec": SPEC.replace("1", "9", 1)}, "version"),
        ({"spec": SPEC.replace("int8", "object")}, "dtype"),
        ({"spec": SPEC}, "output_0"),
        ({"spec": SPEC, "output_0": np.zeros((1, 3), np.int8)}, r"expected output a \[2\] int8"),
        ({"spec": SPEC, "output_0": np.zeros((1, 2), np.int16)}, "got .2. int16"),
        ({"spec": SPEC, "output_0": np.zeros((0, 2), np.int8)}, "at least one"),
        ({"spec": SPEC, "output_0": np.array([{}], dtype=object)}, "pickle"),
    ],
)
def test_wrong_members_are_named(tmp_path: Path, members: dict[str, object], message: str) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, **members)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=message):
        models.describe(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("output_0.npy", "w", force_zip64=True) as member:
            block = bytes(1 << 20)
            for _ in range(64):
                member.write(block)
        for info in archive.filelist:
            info.file_size = 10 << 30  # what the directory says
    with pytest.raises(ModelError, match=r"10737418240 bytes of tensors"):
        models.describe(path)
