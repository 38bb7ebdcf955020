"""The recipes that the benchmark measures npud against feed the same pictures."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import letterbox
from benchmarks.letterbox_recipes import RECIPES
from runtime.frame import Frame

ROUTES = [route for route in letterbox.PATHS if route.what in RECIPES]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_recipe_and_npud_feed_the_same(route: letterbox.Route) -> None:
    preprocess, frame = route.preprocess()
    height, width = frame.pixels.shape[:2]
    across = 255 * np.arange(width) // width
    pixels = np.broadcast_to(
        across.reshape(-1, *(1,) * (frame.pixels.ndim - 2)), frame.pixels.shape
    )
    if frame.format == "yuyv":  # steep chroma is where the ways differ
        pixels = np.where(np.arange(2) == 0, pixels, 128)
    if frame.format == "nv12":
        luma = np.arange(height)[:, None] < height * 2 // 3
        pixels = np.where(luma, pixels, 128)
    smooth = np.ascontiguousarray(pixels, np.uint8)
    ours, box = preprocess(Frame(smooth, format=frame.format))
    theirs = RECIPES[route.what](smooth, route.size).reshape(ours.shape)
    one = 1 / 255 if ours.dtype == np.float32 else 1
    if preprocess.spec.color == "nv12":  # BGR is full range, so theirs pads and scales otherwise
        inside = np.s_[0, box.pad_y + 2 : route.size - box.pad_y - 2, 2:-2]
        ours, theirs = ours[inside], theirs[inside]
    assert np.abs(ours.astype(float) - theirs).max() <= 1.01 * one
