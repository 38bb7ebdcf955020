"""A pen that draws in metres, and the sprites that a scene can paste from its drawings.

x points to the right, in the direction of travel, and y up from the ground.
Shapes go to a canvas several times larger than the sprite; averaging it down yields smooth edges
and, because the canvas starts transparent black, colours already multiplied by their opacity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Point = tuple[float, float]
Image = NDArray[np.uint8]

_SHIFT = 4


@dataclass(frozen=True)
class Light:
    """How a scene is lit: per-channel gains (BGR) for everything, and whether lamps are on."""

    tint: Colour = (1.0, 1.0, 1.0)
    lamps: bool = False


@dataclass(frozen=True)
class Look:
    """What makes one individual of a class: body shape, colours, height and build."""

    kind: str
    shape: int
    main: Colour
    second: Colour
    third: Colour
    skin: Colour
    hair: Colour
    height: float
    extra: float

    def has(self, threshold: float) -> bool:
        """Tell whether this individual carries an accessory of the given rarity."""
        return self.extra > threshold


@dataclass(frozen=True)
class Sprite:
    """A rendered drawing: ``out = colour + background * keep / 255``, solid where it hides."""

    colour: Image
    keep: Image
    solid: NDArray[np.bool_]
    left: int
    top: int
    area: int


def vivid(rng: np.random.Generator, low: float = 0.35, high: float = 0.95) -> Colour:
    """Draw a random colour that is neither too dull nor too dark, as BGR."""
    hue, saturation, value = rng.random(), rng.uniform(0.35, 0.9), rng.uniform(low, high)
    channels = [abs((hue + offset) % 1.0 * 6 - 3) - 1 for offset in (2 / 3, 1 / 3, 0.0)]
    b, g, r = (255 * value * (1 - saturation * (1 - min(max(c, 0.0), 1.0))) for c in channels)
    return b, g, r


def shade(colour: Colour, factor: float) -> Colour:
    """Return the colour made darker (factor below 1) or lighter."""
    b, g, r = (min(255.0, c * factor) for c in colour)
    return b, g, r


class Pen:
    """A transparent canvas spanning ``box`` (left, right, bottom, top in metres)."""

    def __init__(self, box: tuple[float, float, float, float], ppm: float, light: Light) -> None:
        self.left, right, bottom, self.top = box
        self.light = light
        self.ppm = ppm
        self.width = max(1, math.ceil((right - self.left) * ppm))
        self.height = max(1, math.ceil((self.top - bottom) * ppm))
        self.over = 4 if self.height < 90 else 3 if self.height < 180 else 2
        self.scale = ppm * self.over
        self.canvas = np.zeros((self.height * self.over, self.width * self.over, 4), np.uint8)

    def _paint(self, colour: Colour, lit: bool, alpha: float) -> tuple[float, ...]:
        tint = (1.0, 1.0, 1.0) if lit else self.light.tint
        return (*(min(255.0, c * t) for c, t in zip(colour, tint)), alpha)

    def _fix(self, points: list[Point]) -> NDArray[np.int32]:
        pixels = [((x - self.left) * self.scale, (self.top - y) * self.scale) for x, y in points]
        fixed: NDArray[np.int32] = np.rint(np.array(pixels) * (1 << _SHIFT)).astype(np.int32)
        return fixed

    def poly(self, points: list[Point], colour: Colour, lit: bool = False) -> None:
        """Fill a polygon."""
        cv2.fillPoly(
            self.canvas, [self._fix(points)], self._paint(colour, lit, 255), cv2.LINE_8, _SHIFT
        )

    def rect(self, x: float, y: float, w: float, h: float, colour: Colour) -> None:
        """Fill a rectangle given by its lower left corner."""
        self.poly([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], colour)

    def oval(self, at: Point, radii: Point, colour: Colour, **paint: Any) -> None:
        """Fill an ellipse; ``lit`` ignores the tint, ``alpha`` is its opacity (0 to 255)."""
        centre = self._fix([at])[0]
        axes = [round(r * self.scale * (1 << _SHIFT)) for r in radii]
        value = self._paint(colour, paint.get("lit", False), paint.get("alpha", 255))
        cv2.ellipse(self.canvas, centre.tolist(), axes, 0, 0, 360, value, -1, cv2.LINE_8, _SHIFT)

    def limb(self, points: list[Point], thickness: float, colour: Colour) -> None:
        """Draw a line with round ends through the points."""
        width = max(1, round(thickness * self.scale))
        value = self._paint(colour, False, 255)
        cv2.polylines(self.canvas, [self._fix(points)], False, value, width, cv2.LINE_8, _SHIFT)

    def shadow(self, at: float, radius: float) -> None:
        """Darken the ground around the point ``at``."""
        self.oval((at, 0.03), (radius, 0.05 + radius * 0.06), (0, 0, 0), alpha=95)

    def finish(self, mirrored: bool) -> Sprite:
        """Average the canvas down and cut it to a sprite anchored at the origin."""
        small = cv2.resize(self.canvas, (self.width, self.height), interpolation=cv2.INTER_AREA)
        left = round(self.left * self.ppm)
        if mirrored:
            small, left = small[:, ::-1], -left - self.width
        alpha = np.asarray(small[..., 3], np.uint8)
        keep = np.repeat((255 - alpha)[..., None], 3, axis=2)
        solid = alpha > 127
        return Sprite(
            np.ascontiguousarray(small[..., :3], np.uint8),
            keep,
            solid,
            left,
            -round(self.top * self.ppm),
            int(np.count_nonzero(solid)),
        )
