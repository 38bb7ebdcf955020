"""Sample: one picture of a calibration set, as figures that are cheap to compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

HASH = (9, 8)  # width and height of the picture whose neighbours are compared: 64 bits
SMALL = (64, 64)
SHARP_WIDTH = 640  # blur is measured at one width
HUES, LEVELS = 8, 4
GREY_SATURATION = 12  # of 255: below, a picture has no colours


@dataclass(frozen=True, eq=False)
class Sample:
    """Figures of one picture.

    width, height in pixels; brightness and contrast: mean and standard deviation of the luma,
    0..255; sharpness: variance of the Laplacian at 640 px width; saturation: mean, 0..255;
    red_blue: mean of R - B, 0..255; hash: (64,) bool dHash; histogram: (HUES * LEVELS * LEVELS,)
    of hue, saturation and value, its sum 1.
    """

    path: Path
    width: int
    height: int
    brightness: float
    contrast: float
    sharpness: float
    saturation: float
    red_blue: float
    hash: NDArray[np.bool_]
    histogram: NDArray[np.float32]

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height

    @property
    def grey(self) -> bool:
        """Whether it has no colours."""
        return self.saturation < GREY_SATURATION


def sample_of(path: Path, pixels: NDArray[np.uint8]) -> Sample:
    """Measure a picture, (H, W, 3) uint8 BGR."""
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(pixels, SMALL, interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(small, cv2.COLOR_BGR2HSV)
    histogram = cv2.calcHist(
        [hsv], [0, 1, 2], None, [HUES, LEVELS, LEVELS], [0, 180, 0, 256, 0, 256]
    )
    tall = max(1, round(SHARP_WIDTH * height / width))
    even = cv2.resize(grey, (SHARP_WIDTH, tall), interpolation=cv2.INTER_AREA)
    means = small.reshape(-1, 3).mean(0)
    return Sample(
        path=path,
        width=width,
        height=height,
        brightness=float(grey.mean()),
        contrast=float(grey.std()),
        sharpness=float(cv2.Laplacian(even, cv2.CV_32F).var()),
        saturation=float(hsv[..., 1].mean()),
        red_blue=float(means[2] - means[0]),
        hash=dhash(grey),
        histogram=(histogram.ravel() / histogram.sum()).astype(np.float32),
    )


def dhash(grey: NDArray[Any]) -> NDArray[np.bool_]:
    """Difference hash: whether each of 8×8 cells is brighter than its left neighbour, (64,) bool.

    Neal Krawetz, "Kind of like that" (2013): equal for pictures that differ in size or encoding.
    """
    tiny = cv2.resize(grey, HASH, interpolation=cv2.INTER_AREA).astype(np.int16)
    result: NDArray[np.bool_] = (tiny[:, 1:] > tiny[:, :-1]).ravel()
    return result


def hamming(samples: list[Sample]) -> NDArray[np.int32]:
    """Number of different bits between all hashes, (N, N)."""
    bits = np.array([sample.hash for sample in samples], np.float32).reshape(len(samples), -1)
    agree = bits @ bits.T + (1 - bits) @ (1 - bits).T
    result: NDArray[np.int32] = np.rint(bits.shape[1] - agree).astype(np.int32)
    return result
