"""Boxes and labels drawn into a picture."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections, label_of

FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(
    pixels: NDArray[np.uint8], found: Detections, labels: tuple[str, ...]
) -> NDArray[np.uint8]:
    """Return a copy of (H, W, 3) uint8 BGR with each box, its label and score in it."""
    picture: NDArray[np.uint8] = pixels.copy()
    size = max(0.4, min(pixels.shape[:2]) / 1100)
    thick = max(1, round(size * 2.5))
    for box, score, class_id in reversed(list(found)):  # the best is drawn last, on top
        colour = _colour(class_id)
        x1, y1, x2, y2 = (round(float(side)) for side in box)
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, thick, cv2.LINE_AA)
        text = f"{label_of(labels, class_id)} {score:.2f}"
        (width, height), below = cv2.getTextSize(text, FONT, size, 1)
        top = y1 - height - below if y1 > height + below else y1
        left = max(0, min(x1, picture.shape[1] - width - 4))
        corner = (left + width + 4, top + height + below)
        cv2.rectangle(picture, (left, top), corner, colour, cv2.FILLED)
        place = (left + 2, top + height + 1)
        cv2.putText(picture, text, place, FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def _colour(class_id: int) -> tuple[int, int, int]:
    """A bright BGR colour per class; neighbouring ids are far apart in hue."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * 0.381966 % 1, 0.65, 1)
    return round(blue * 255), round(green * 255), round(red * 255)
