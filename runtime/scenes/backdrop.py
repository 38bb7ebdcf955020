"""The parts of a generated street that do not move: sky, houses, pavements and the road."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from runtime.scenes.sprites import Colour, Image, Light, shade

_SHIFT = 4
# The time of day: gains for everything (BGR), sky above, sky at the horizon, are the lamps on.
_TIMES: tuple[tuple[Colour, Colour, Colour, bool], ...] = (
    ((1.0, 1.0, 1.0), (232, 178, 112), (245, 228, 205), False),
    ((1.0, 1.02, 1.04), (240, 190, 130), (240, 235, 225), False),
    ((0.9, 0.88, 0.87), (196, 188, 180), (222, 218, 214), False),
    ((0.74, 0.84, 1.02), (150, 110, 120), (120, 175, 250), False),
    ((0.82, 0.68, 0.72), (120, 80, 70), (150, 130, 215), True),
    ((0.66, 0.52, 0.46), (70, 42, 28), (110, 72, 52), True),
)
_WALLS: tuple[Colour, ...] = (
    (120, 150, 205),
    (150, 185, 215),
    (175, 200, 225),
    (110, 125, 175),
    (165, 165, 170),
    (190, 205, 210),
    (140, 165, 150),
    (125, 175, 215),
)


@dataclass(frozen=True)
class View:
    """The camera's view: where the horizon, the ground and the kerbs are (parts of the height)."""

    width: int
    height: int
    horizon: float
    ground: float
    kerb_far: float
    kerb_near: float
    zoom: float
    light: Light
    sky: tuple[Colour, Colour]

    def ppm(self, at: float) -> float:
        """Return the pixels per metre of things that stand at this part of the height."""
        return (at - self.horizon) * self.zoom * self.height


def make_view(rng: np.random.Generator, width: int, height: int) -> View:
    """Choose a place for the camera and a time of day."""
    tint, above, below, lamps = _TIMES[int(rng.integers(len(_TIMES)))]
    ground = float(rng.uniform(0.47, 0.54))
    gain = rng.uniform(0.92, 1.05)
    b, g, r = (gain * t * rng.uniform(0.97, 1.03) for t in tint)
    return View(
        width=width,
        height=height,
        horizon=float(ground - rng.uniform(0.2, 0.26)),
        ground=ground,
        kerb_far=ground + float(rng.uniform(0.055, 0.085)),
        kerb_near=float(rng.uniform(0.8, 0.86)),
        zoom=float(rng.uniform(0.26, 0.38)),
        light=Light((b, g, r), lamps),
        sky=(above, below),
    )


class _Brush:
    """Draws smooth shapes on the backdrop; x in pixels, y as a part of the height."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.image: Image = np.zeros((view.height, view.width, 3), np.uint8)

    def poly(self, points: list[tuple[float, float]], colour: Colour, lit: bool = False) -> None:
        tint = (1.0, 1.0, 1.0) if lit else self.view.light.tint
        value = [min(255.0, c * t) for c, t in zip(colour, tint)]
        scale = (1 << _SHIFT, self.view.height * (1 << _SHIFT))
        fixed = np.rint(np.array(points) * scale).astype(np.int32)
        cv2.fillPoly(self.image, [fixed], value, cv2.LINE_AA, _SHIFT)

    def rect(
        self, x: float, y: float, w: float, h: float, colour: Colour, lit: bool = False
    ) -> None:
        self.poly([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], colour, lit)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour, lit: bool) -> None:
        aspect = 1 / self.view.height
        angles = np.linspace(0, math.tau, 28, endpoint=False)
        self.poly(
            [(x + math.cos(a) * rx, y + math.sin(a) * ry * aspect) for a in angles], colour, lit
        )


def draw_backdrop(view: View, rng: np.random.Generator) -> Image:
    """Draw everything that stands still."""
    brush = _Brush(view)
    _sky(brush, rng)
    _skyline(brush, rng)
    _houses(brush, rng)
    _pavements(brush)
    _road(brush, rng)
    _trees(brush, rng)
    _lanterns(brush, rng)
    blur = max(0.3, view.height / 1400)
    return np.asarray(cv2.GaussianBlur(brush.image, (0, 0), blur), np.uint8)


def _sky(brush: _Brush, rng: np.random.Generator) -> None:
    view = brush.view
    rows = round(view.ground * view.height) + 1
    blend = np.linspace(0, 1, rows)[:, None]
    colours = np.array(view.sky[0]) * (1 - blend) + np.array(view.sky[1]) * blend
    brush.image[:rows] = np.rint(colours).astype(np.uint8)[:, None]
    x, y = rng.uniform(0.1, 0.9) * view.width, rng.uniform(0.06, 0.2)
    radius = 0.035 * view.height
    if view.light.tint[1] > 0.95 or view.light.lamps:
        body = (235, 240, 240) if view.light.lamps else (170, 235, 255)
        brush.disc(x, y, radius, radius, body, True)
    for _ in range(int(rng.integers(2, 6))):
        x, y = rng.uniform(0, 1) * view.width, rng.uniform(0.04, 0.22)
        for _ in range(5):
            puff = rng.uniform(0.02, 0.045) * view.height
            dx, dy = rng.uniform(-2.2, 2.2) * puff, rng.uniform(-0.3, 0.3) * puff / view.height
            cloud = shade(view.sky[1], 1.06)
            brush.disc(x + dx, y + dy, puff * 1.7, puff * 0.7, cloud, True)


def _skyline(brush: _Brush, rng: np.random.Generator) -> None:
    view = brush.view
    haze = [0.55 * below + 0.45 * 120 * t for below, t in zip(view.sky[1], view.light.tint)]
    x = -0.05 * view.height
    while x < view.width:
        wide, high = rng.uniform(0.05, 0.16) * view.height, rng.uniform(0.1, 0.42)
        tone = shade((haze[0], haze[1], haze[2]), rng.uniform(0.9, 1.02))
        brush.rect(x, view.ground - high, wide, high, tone, lit=True)
        x += wide * rng.uniform(0.8, 1.3)


def _houses(brush: _Brush, rng: np.random.Generator) -> None:
    view = brush.view
    metre = view.ppm(view.ground)
    x = -rng.uniform(0, 4) * metre
    while x < view.width:
        wide = rng.uniform(6, 12) * metre
        if rng.random() < 0.86:
            _house(brush, rng, x, wide, metre)
        x += wide


def _house(brush: _Brush, rng: np.random.Generator, x: float, wide: float, metre: float) -> None:
    view = brush.view
    unit = metre / view.height
    wall = shade(_WALLS[int(rng.integers(len(_WALLS)))], rng.uniform(0.8, 1.02))
    floors = int(rng.integers(1, 6))
    high = (3.6 + 2.9 * floors) * unit
    top = view.ground - high
    brush.rect(x, top, wide, high, wall)
    brush.rect(x - 0.1 * metre, top - 0.3 * unit, wide + 0.2 * metre, 0.45 * unit, shade(wall, 0.6))
    columns = max(1, int(wide / (2.2 * metre)))
    pitch = wide / columns
    for floor in range(floors):
        for column in range(columns):
            at = (x + (column + 0.27) * pitch, top + (0.75 + 2.9 * floor) * unit)
            _window(brush, rng, at, (0.46 * pitch, 1.6 * unit), wall)
    _shop(brush, rng, x, wide, metre, wall)


def _window(
    brush: _Brush,
    rng: np.random.Generator,
    at: tuple[float, float],
    size: tuple[float, float],
    wall: Colour,
) -> None:
    x, y = at
    w, h = size
    shining = brush.view.light.lamps and rng.random() < 0.45
    pane = (120, 205, 245) if shining else shade((135, 112, 90), rng.uniform(0.8, 1.25))
    brush.rect(x - 0.08 * w, y - 0.06 * h, 1.16 * w, 1.16 * h, shade(wall, 1.15))
    brush.rect(x, y, w, h, pane, lit=shining)
    brush.rect(x + 0.46 * w, y, 0.08 * w, h, shade(wall, 1.1))


def _shop(
    brush: _Brush, rng: np.random.Generator, x: float, wide: float, metre: float, wall: Colour
) -> None:
    view = brush.view
    unit = metre / view.height
    hue = shade((rng.uniform(50, 220), rng.uniform(50, 200), rng.uniform(50, 220)), 0.85)
    lit = view.light.lamps and rng.random() < 0.7
    glass = (140, 205, 235) if lit else (118, 105, 90)
    left, right = x + 0.4 * metre, x + wide - 0.4 * metre
    brush.rect(left, view.ground - 2.5 * unit, right - left, 2.2 * unit, glass, lit)
    door = left + rng.uniform(0.1, 0.7) * (right - left)
    brush.rect(door, view.ground - 2.3 * unit, 1.1 * metre, 2.3 * unit, shade(hue, 0.6))
    brush.rect(x, view.ground - 0.3 * unit, wide, 0.3 * unit, shade(wall, 0.55))
    if rng.random() < 0.6:
        stripes = max(2, int((right - left) / (0.6 * metre)))
        step = (right - left) / stripes
        for stripe in range(stripes):
            a, b = left + stripe * step, left + (stripe + 1) * step
            tone = hue if stripe % 2 else (225, 232, 235)
            low = view.ground - 2.1 * unit
            brush.poly([(a, low - 0.9 * unit), (b, low - 0.9 * unit), (b, low), (a, low)], tone)
    else:
        brush.rect(left, view.ground - 3.2 * unit, right - left, 0.6 * unit, hue)


def _pavements(brush: _Brush) -> None:
    view = brush.view
    slab, joint = (168, 174, 178), (146, 152, 157)
    for low, high in ((view.ground, view.kerb_far), (view.kerb_near, 1.0)):
        brush.rect(0, low, view.width, high - low + 0.01, slab)
        for line in np.linspace(low, high, 4)[1:-1]:
            brush.rect(0, line, view.width, 0.0022, joint)
        _rays(brush, low, high, 1.6, 0.05, joint)
    brush.rect(0, view.kerb_far, view.width, 0.007, (120, 124, 128))
    brush.rect(0, view.kerb_near - 0.012, view.width, 0.014, (188, 194, 198))


def _rays(
    brush: _Brush,
    low: float,
    high: float,
    pitch: float,
    wide: float,
    colour: Colour,
    span: tuple[float, float] | None = None,
) -> None:
    """Draw lines on the ground that lead away from the camera, ``pitch`` metres apart."""
    view = brush.view
    a, b = view.ppm(low), view.ppm(high)
    reach = math.ceil(view.width / 2 / a / pitch)
    first, last = (-reach, reach) if span is None else (round(span[0]), round(span[1]))
    for number in range(first, last + 1):
        x, y = number * pitch, number * pitch + wide
        centre = view.width / 2
        brush.poly(
            [
                (centre + x * a, low),
                (centre + y * a, low),
                (centre + y * b, high),
                (centre + x * b, high),
            ],
            colour,
        )


def _road(brush: _Brush, rng: np.random.Generator) -> None:
    view = brush.view
    base = rng.uniform(84, 108)
    far, near = view.kerb_far + 0.007, view.kerb_near - 0.012
    brush.rect(0, far, view.width, near - far, (base * 1.03, base, base * 0.98))
    for _ in range(14):
        y = rng.uniform(far, near - 0.01)
        tone = base * rng.uniform(0.94, 1.04)
        x, wide = rng.uniform(-0.2, 1) * view.width, rng.uniform(0.1, 0.5) * view.width
        brush.disc(x, y, wide, 0.006 * view.height, (tone, tone, tone), False)
    middle = (far + near) / 2
    scale = view.ppm(middle)
    for number in range(-40, 41):
        x = view.width / 2 + number * 4.0 * scale
        if -3 * scale < x < view.width:
            brush.rect(x, middle, 2.0 * scale, 0.007, (205, 212, 214))
    if rng.random() < 0.6:
        start = rng.uniform(-6, 3)
        _rays(brush, far + 0.01, near - 0.01, 1.0, 0.5, (200, 206, 208), (start, start + 4))


def _trees(brush: _Brush, rng: np.random.Generator) -> None:
    view = brush.view
    at = view.ground + 0.015
    metre = view.ppm(at)
    unit = metre / view.height
    for _ in range(int(rng.integers(1, 6))):
        x = rng.uniform(0, 1) * view.width
        leaf = shade((70, 135, 95), rng.uniform(0.75, 1.1))
        brush.rect(x - 0.13 * metre, at - 2.4 * unit, 0.26 * metre, 2.4 * unit, (60, 80, 105))
        for tone, lift in ((0.8, 0.0), (1.0, 0.5)):
            for _ in range(6):
                dx, dy = rng.uniform(-1.0, 1.0), rng.uniform(2.6, 4.2) + lift
                size = rng.uniform(0.6, 1.0) * metre
                brush.disc(x + dx * metre, at - dy * unit, size, size, shade(leaf, tone), False)


def _lanterns(brush: _Brush, rng: np.random.Generator) -> None:
    view = brush.view
    at = view.kerb_far - 0.006
    metre = view.ppm(at)
    unit = metre / view.height
    for number in np.arange(rng.uniform(0, 9), view.width / metre, 14.0):
        x = number * metre
        brush.rect(x - 0.06 * metre, at - 4.6 * unit, 0.12 * metre, 4.6 * unit, (88, 84, 80))
        brush.rect(x - 0.06 * metre, at - 4.6 * unit, 0.9 * metre, 0.1 * unit, (88, 84, 80))
        glow = (170, 230, 255) if view.light.lamps else (200, 205, 205)
        brush.disc(x + 0.75 * metre, at - 4.45 * unit, 0.28 * metre, 0.13 * metre, glow, True)
