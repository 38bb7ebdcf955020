"""The golden sample on disk: what is written comes back, and what does not belong is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from npud.errors import ConfigError, ModelError
from runtime import models
from runtime.config import Model
from runtime.detector import read_model
from runtime.golden import canary
from runtime.golden.reference import Reference, load, make, save
from runtime.models import manifest as manifests
from runtime.scenes import Street
from runtime.sources.images import write_image
from tests.golden.samples import GOLDEN, STREET, broken, detector, with_golden


@pytest.fixture(scope="module")
def sample() -> Reference:
    return make(detector(), Street(30, (320, 240)).frame(90)[0])


def test_what_is_written_comes_back(sample: Reference, tmp_path: Path) -> None:
    image, arrays = tmp_path / "g.png", tmp_path / "g.npz"
    save(sample, image, arrays)
    again = load(image, arrays)
    np.testing.assert_array_equal(again.pixels, sample.pixels)
    assert again.meta == sample.meta
    for name in ("boxes", "scores", "class_ids"):
        np.testing.assert_array_equal(getattr(again.found, name), getattr(sample.found, name))
    assert again.outputs.keys() == sample.outputs.keys()
    assert sorted(map(str, again.outputs)) == [
        "box_16", "box_32", "box_8", "cls_16", "cls_32", "cls_8",
    ]  # fmt: skip
    for key, values in sample.outputs.items():
        np.testing.assert_allclose(again.outputs[key], values, rtol=1e-3, atol=1e-6)
    assert again.meta.peak == max(
        float(v.max()) for k, v in sample.outputs.items() if k[0] == "cls"
    )


def test_another_picture_is_refused(sample: Reference, tmp_path: Path) -> None:
    image, arrays = tmp_path / "g.png", tmp_path / "g.npz"
    save(sample, image, arrays)
    changed = sample.pixels.copy()
    changed[0, 0, 0] ^= 1
    write_image(image, changed)
    with pytest.raises(ModelError, match="was made of other pixels than those of"):
        load(image, arrays)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY"])
def test_what_is_no_reference_is_refused(sample: Reference, tmp_path: Path, content: bytes) -> None:
    image, arrays = tmp_path / "g.png", tmp_path / "g.npz"
    save(sample, image, arrays)
    arrays.write_bytes(content)
    with pytest.raises(ModelError, match="expected a reference that npud made"):
        load(image, arrays)
    np.savez(arrays, boxes=sample.found.boxes)
    with pytest.raises(ModelError, match="meta"):
        load(image, arrays)


def test_a_sample_that_is_missing_is_refused(tmp_path: Path) -> None:
    model = with_golden(broken(tmp_path, lambda _, bias: bias))
    (tmp_path / "street.golden.npz").unlink()
    files = read_model(Model(path=str(model)))
    with pytest.raises(ModelError, match=r"street\.golden\.npz.*No such file"):
        canary.sample_of(files)
    (tmp_path / "street.golden.png").unlink()
    with pytest.raises(ModelError, match=r"street\.golden\.png: No such file"):
        canary.sample_of(files)


def test_a_digest_that_is_not_the_files_is_refused(tmp_path: Path) -> None:
    model = broken(tmp_path, lambda _, bias: bias)
    own = models.digest(model)
    model.with_suffix(".toml").write_text(f'digest = "{own}"\n{STREET}')
    assert read_model(Model(path=str(model))).manifest.digest == own
    model.with_suffix(".toml").write_text(f'digest = "0123456789ab"\n{STREET}')
    with pytest.raises(ModelError, match=f"digest 0123456789ab, as .*m.toml states, got {own}"):
        read_model(Model(path=str(model)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('digest = "xyz"', "digest: expected"),
        ('[golden]\nimage = "a.png"', "golden.reference: this key is required"),
        ('[golden]\nimage = "../a.png"\nreference = "a.npz"', "golden.image: expected"),
        (GOLDEN + "min_matched = 2", "golden.min_matched: expected float <= 1.0"),
        (GOLDEN + "max_logits = 2", "golden.max_logits: unknown key; did you mean max_logit?"),
        ("[calibration]\ncount = -1", "calibration.count: expected"),
        ("[conversion]\nparameters = {a = []}", "conversion.parameters"),
        ('[input]\nlayout = "hwc"', "input.layout: expected one of 'nchw', 'nhwc'"),
    ],
)
def test_a_mistake_in_the_manifest_names_its_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        manifests.read(path)
    assert message in str(raised.value)


def test_a_layout_that_the_input_has_not_is_refused(tmp_path: Path) -> None:
    model = broken(tmp_path, lambda _, bias: bias)
    model.with_suffix(".toml").write_text(STREET + 'layout = "nhwc"\n')
    with pytest.raises(ModelError, match=r'input\.layout "nhwc" does not fit its input'):
        detector(model)
