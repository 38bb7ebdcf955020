"""The bundled model broken in every way of the gallery: the right cause is named, and no other."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gallery import empty, named, street
from benchmarks.gallery_models import Case, Good, cases, good
from runtime import bundled

CASES = (
    "probabilities read as logits", "two sigmoids in the graph", "logits read as probabilities",
    "class logits 6 too low", "class logits squeezed (x/4 - 4)", "class logits times 6",
    "class probabilities times 0.7", "red and blue exchanged", "stretched, not letterboxed",
    "letterboxed at the top left", "divided by 255 twice", "not divided by 255",
    "ImageNet's mean and std", "outputs NHWC in NCHW shapes", "input reshaped, not transposed",
    "y before x in boxes", "zero outputs", "NaN in an output", "score sum read as objectness",
)  # fmt: skip


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return street()


@pytest.fixture(scope="module")
def one(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Good:
    return good(bundled.MODEL, pixels, tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def gallery(
    one: Good, pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Case]:
    return {c.name: c for c in cases(one, tmp_path_factory.mktemp("broken"), pixels)}


def test_all_cases_are_tested(gallery: dict[str, Case]) -> None:
    assert set(gallery) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_named(gallery: dict[str, Case], pixels: np.ndarray, name: str) -> None:
    case = gallery[name]
    assert named(case.path, [pixels], case.reference)[0] == case.cause


@pytest.mark.parametrize(
    "name",
    ["divided by 255 twice", "not divided by 255", "class logits 6 too low", "y before x in boxes"],
)
def test_pictures_alone_tell_some(gallery: dict[str, Case], pixels: np.ndarray, name: str) -> None:
    assert named(gallery[name].path, [pixels], None)[0] == gallery[name].alone


@pytest.mark.parametrize("form", ["logits", "probabilities", "score_sum", "nhwc"])
def test_good_forms_are_healthy(one: Good, pixels: np.ndarray, form: str) -> None:
    assert named(one.forms[form], [pixels], one.uncut) == ("healthy", "ok")


def test_an_empty_picture_is_no_illness(one: Good) -> None:
    assert named(one.forms["nhwc"], [empty()["plain grey"]], None)[0] == "healthy"
