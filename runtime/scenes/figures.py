"""Stylised drawings of those who use a street: people, dogs, bicycles, cars, buses and signals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from runtime.scenes.sprites import Colour, Light, Look, Pen, Point, Sprite, shade, vivid

BLACK: Colour = (24, 22, 22)
GLASS: Colour = (150, 125, 95)
RUBBER: Colour = (38, 34, 34)
STEEL: Colour = (190, 186, 182)
LAMP_COLOURS: tuple[Colour, ...] = ((60, 60, 250), (60, 200, 250), (110, 230, 70))
SKINS: tuple[Colour, ...] = ((178, 205, 240), (140, 175, 225), (95, 135, 190), (60, 85, 130))
HAIRS: tuple[Colour, ...] = ((30, 30, 35), (40, 60, 95), (80, 150, 205), (110, 110, 115))
COATS: tuple[Colour, ...] = ((45, 85, 150), (40, 40, 48), (190, 210, 225), (90, 140, 190))


def make_look(kind: str, rng: np.random.Generator) -> Look:
    """Draw one individual of ``kind`` at random."""
    main = vivid(rng)
    if kind == "car" and rng.random() < 0.4:
        grey = rng.uniform(60, 235)
        main = (grey, grey, grey)
    elif kind == "dog":
        main = shade(COATS[int(rng.integers(len(COATS)))], rng.uniform(0.8, 1.1))
    return Look(
        kind=kind,
        shape=int(rng.integers(4)),
        main=main,
        second=vivid(rng, 0.2, 0.6),
        third=vivid(rng, 0.3, 0.9),
        skin=SKINS[int(rng.integers(len(SKINS)))],
        hair=HAIRS[int(rng.integers(len(HAIRS)))],
        height=float(rng.uniform(0.86, 1.1))
        if rng.random() < 0.85
        else float(rng.uniform(0.65, 0.8)),
        extra=float(rng.random()),
    )


def wheel(pen: Pen, at: Point, radius: float, turn: float, spokes: int = 5) -> None:
    """Draw a car or bus wheel, turned by an angle."""
    pen.oval(at, (radius, radius), RUBBER)
    pen.oval(at, (radius * 0.62, radius * 0.62), STEEL)
    for spoke in range(spokes):
        angle = turn + spoke * math.tau / spokes
        tip = (at[0] + math.cos(angle) * radius * 0.5, at[1] + math.sin(angle) * radius * 0.5)
        pen.limb([at, tip], radius * 0.14, shade(RUBBER, 2.2))


def lamps(pen: Pen, front: Point, rear: Point) -> None:
    """Draw head and tail lamps, with a beam when the scene is dark."""
    pen.oval(front, (0.1, 0.09), (215, 245, 255), lit=pen.light.lamps)
    pen.oval(rear, (0.08, 0.1), (50, 40, 225), lit=pen.light.lamps)


def beam(pen: Pen, front: float, reach: float) -> None:
    """Add a pale light on the ground ahead of a vehicle (it brightens and hides nothing)."""
    if pen.light.lamps:
        for step in range(8):
            part = 1 - step / 8
            glow = (7.0 * (step + 1), 8.5 * (step + 1), 9.0 * (step + 1))
            at = (front + reach * (0.3 + 0.4 * part), 0.02)
            pen.oval(at, (reach * 0.6 * part, 0.2 * part), glow, lit=True, alpha=0)


_CAR_SHAPES: tuple[tuple[list[Point], list[Point]], ...] = (
    (
        [(-1.35, 0.85), (-0.85, 1.4), (0.45, 1.42), (1.15, 0.92)],
        [(-1.12, 0.9), (-0.76, 1.31), (0.4, 1.33), (0.93, 0.92)],
    ),
    (
        [(-1.98, 0.8), (-1.75, 1.38), (0.4, 1.45), (1.15, 0.95)],
        [(-1.72, 0.92), (-1.58, 1.3), (0.35, 1.35), (0.93, 0.95)],
    ),
    (
        [(-2.05, 0.8), (-1.95, 1.62), (0.55, 1.66), (1.2, 1.0)],
        [(-1.78, 1.02), (-1.7, 1.5), (0.48, 1.53), (0.95, 1.02)],
    ),
    (
        [(-2.1, 0.8), (-2.05, 1.9), (0.95, 1.9), (1.6, 1.05)],
        [(0.05, 1.1), (0.05, 1.72), (0.85, 1.72), (1.32, 1.1)],
    ),
)


def draw_car(pen: Pen, look: Look, phase: float) -> None:
    """Draw a saloon, a hatchback, an off-roader or a van."""
    cabin, window = _CAR_SHAPES[look.shape]
    rise = 0.12 if look.shape >= 2 else 0.0
    beam(pen, 2.1, 1.75)
    pen.shadow(0.0, 2.25)
    body = [
        (-2.15, 0.32),
        (-2.2, 0.6),
        (-2.1, 0.88 + rise),
        (-1.3, 0.92 + rise),
        (1.0, 0.95 + rise),
        (1.85, 0.84 + rise),
        (2.15, 0.66),
        (2.18, 0.32),
    ]
    pen.poly(cabin, look.main)
    pen.poly(body, look.main)
    pen.poly([(-2.16, 0.32), (-2.19, 0.48), (2.17, 0.48), (2.18, 0.32)], shade(look.main, 0.6))
    pen.poly(window, GLASS)
    middle = (window[0][0] + window[3][0]) / 2
    pen.limb([(middle, window[0][1]), (middle, window[1][1])], 0.09, look.main)
    pen.limb([(middle, 0.85 + rise), (middle, 0.5)], 0.025, shade(look.main, 0.6))
    pen.limb([(middle - 0.3, 0.8 + rise), (middle - 0.14, 0.8 + rise)], 0.05, shade(look.main, 0.5))
    if look.has(0.85):
        pen.rect(-0.35, cabin[2][1] - 0.02, 0.6, 0.16, (60, 215, 250))
    lamps(pen, (2.05, 0.7), (-2.12, 0.74))
    for x in (-1.32, 1.32):
        pen.oval((x, 0.36), (0.42, 0.42), shade(look.main, 0.35))
        wheel(pen, (x, 0.33), 0.34, -phase * math.tau / 5)


def draw_bus(pen: Pen, look: Look, phase: float) -> None:
    """Draw a city bus."""
    beam(pen, 4.0, 1.85)
    pen.shadow(0.0, 4.1)
    pen.poly(
        [(-4, 0.35), (-4, 2.85), (-3.85, 3.0), (3.7, 3.0), (3.95, 2.8), (4.05, 1.2), (4.0, 0.35)],
        look.main,
    )
    pen.rect(-4, 0.35, 8.0, 0.3, shade(look.main, 0.55))
    pen.rect(-4, 1.05, 8.02, 0.16, look.third)
    glass = (130, 220, 245) if pen.light.lamps else GLASS
    for x in np.arange(-3.7, 2.4, 1.05):
        points = [(x, 1.5), (x + 0.92, 1.5), (x + 0.92, 2.5), (x, 2.5)]
        pen.poly(points, glass, lit=pen.light.lamps)
    for x in (-0.55, 2.62):
        pen.rect(x, 0.5, 0.92, 2.05, shade(look.main, 0.45))
        pen.rect(x + 0.07, 0.65, 0.36, 1.8, GLASS)
        pen.rect(x + 0.49, 0.65, 0.36, 1.8, GLASS)
    pen.poly([(3.66, 1.35), (3.98, 1.35), (3.92, 2.5), (3.66, 2.5)], GLASS)
    pen.rect(0.6, 2.6, 2.2, 0.3, BLACK)
    for x in np.arange(0.75, 2.6, 0.3):
        pen.oval((float(x) + 0.1, 2.75), (0.09, 0.07), (60, 190, 255), lit=True)
    lamps(pen, (3.95, 0.75), (-3.94, 0.9))
    for x in (-2.5, 2.05):
        pen.oval((x, 0.5), (0.58, 0.55), shade(look.main, 0.35))
        wheel(pen, (x, 0.45), 0.46, -phase * math.tau / 5)


def draw_bicycle(pen: Pen, look: Look, phase: float) -> None:
    """Draw a bicycle."""
    pen.shadow(0.0, 0.85)
    for x in (-0.54, 0.54):
        for spoke in range(6):
            angle = -phase * math.tau / 2 + spoke * math.tau / 6
            tip = (x + math.cos(angle) * 0.33, 0.35 + math.sin(angle) * 0.33)
            pen.limb([(x, 0.35), tip], 0.014, STEEL)
        ring = [(x + math.cos(a) * 0.33, 0.35 + math.sin(a) * 0.33) for a in _CIRCLE]
        pen.limb(ring, 0.06, RUBBER)
    crank, saddle, head = (-0.06, 0.33), (-0.2, 0.88), (0.4, 0.86)
    for bar in (
        [(-0.54, 0.35), crank, head, (-0.17, 0.76), (-0.54, 0.35)],
        [crank, saddle],
        [(0.54, 0.35), (0.36, 1.0)],
    ):
        pen.limb(bar, 0.055, look.main)
    pen.limb([(0.3, 1.02), (0.42, 1.02)], 0.06, BLACK)
    pen.limb([(-0.32, 0.9), (-0.1, 0.9)], 0.08, BLACK)


_CIRCLE = [step * math.tau / 20 for step in range(21)]


def _knee(hip: Point, foot: Point, length: float) -> Point:
    """Find where a leg of two equal bones bends, forwards."""
    dx, dy = foot[0] - hip[0], foot[1] - hip[1]
    span = max(math.hypot(dx, dy), 1e-6)
    bend = math.sqrt(max(length * length - span * span / 4, 0.0))
    return hip[0] + dx / 2 - dy / span * bend, hip[1] + dy / 2 + dx / span * bend


def _leg(
    pen: Pen, hip: Point, foot: Point, size: float, trousers: Colour, bone: float = 0.435
) -> None:
    knee = _knee(hip, foot, bone * size)
    pen.limb([hip, knee, foot], 0.145 * size, trousers)
    pen.limb([foot, (foot[0] + 0.12 * size, foot[1] - 0.02)], 0.1 * size, BLACK)


def _upper(pen: Pen, look: Look, hip: Point, neck: Point, hands: tuple[Point, Point]) -> None:
    """Draw the torso, the arms and the head between hip and neck."""
    size = look.height
    shoulder = (neck[0], neck[1] - 0.08 * size)
    far = _knee(shoulder, hands[1], 0.3 * size)
    pen.limb([shoulder, far, hands[1]], 0.1 * size, shade(look.main, 0.7))
    if look.kind == "person" and look.has(0.75):
        pack = ((hip[0] + shoulder[0]) / 2 - 0.2 * size, (hip[1] + shoulder[1]) / 2 + 0.08)
        pen.oval(pack, (0.15 * size, 0.22 * size), look.third)
    pen.limb([hip, shoulder], 0.3 * size, look.main)
    head = (neck[0] + 0.03 * size, neck[1] + 0.2 * size)
    pen.limb([neck, head], 0.1 * size, look.skin)
    pen.oval(head, (0.115 * size, 0.135 * size), look.skin)
    crown = shade(look.third, 0.9) if look.kind == "rider" else look.hair
    points = [
        (head[0] + math.cos(a) * 0.14 * size, head[1] + 0.02 + math.sin(a) * 0.15 * size)
        for a in np.linspace(0.4, 3.9, 12)
    ]
    pen.poly(points, crown)
    pen.limb(
        [shoulder, _knee(shoulder, hands[0], -0.3 * size), hands[0]],
        0.11 * size,
        shade(look.main, 0.85),
    )
    pen.oval(hands[0], (0.055 * size, 0.055 * size), look.skin)


def draw_person(pen: Pen, look: Look, phase: float) -> None:
    """Draw a walking (phase from 0 to 1) or, at a negative phase, a standing person."""
    size = look.height
    swing = 0.0 if phase < 0 else math.sin(phase * math.tau)
    pen.shadow(0.0, 0.4 * size)
    hip, neck = (0.0, 0.9 * size), (0.03 * size, 1.5 * size)
    for side, trousers in ((-1, shade(look.second, 0.7)), (1, look.second)):
        lift = 0.0 if phase < 0 else max(0.0, side * math.cos(phase * math.tau)) * 0.13
        foot = ((side * swing * 0.32 + 0.03 * side) * size, (0.06 + lift) * size)
        _leg(pen, hip, foot, size, trousers)
    if look.shape == 3:
        pen.poly(
            [
                (-0.12, 1.0 * size),
                (0.12, 1.0 * size),
                (0.25 * size, 0.55 * size),
                (-0.25 * size, 0.55 * size),
            ],
            look.third,
        )
    hands = tuple((side * swing * 0.28 * size, 0.88 * size) for side in (-1, 1))
    _upper(pen, look, hip, neck, (hands[0], hands[1]))


def draw_rider(pen: Pen, look: Look, phase: float) -> None:
    """Draw a person who sits on a bicycle and pedals."""
    size = 0.55 + look.height * 0.45
    angle = -phase * math.tau
    for side, trousers in ((-1, shade(look.second, 0.7)), (1, look.second)):
        foot = (-0.06 + side * math.cos(angle) * 0.16, 0.36 + side * math.sin(angle) * 0.16)
        _leg(pen, (-0.2, 0.98), foot, 0.93 * size, trousers, 0.46)
    hand = (0.36, 1.06)
    _upper(pen, look, (-0.18, 1.0), (0.08, 1.0 + 0.52 * size), (hand, hand))


def draw_dog(pen: Pen, look: Look, phase: float) -> None:
    """Draw a trotting dog."""
    size = look.height
    swing = math.sin(phase * math.tau) * 0.13
    pen.shadow(0.0, 0.5 * size)
    for x, way, tone in ((-0.26, -1, 0.7), (0.26, 1, 0.7), (-0.28, 1, 0.9), (0.24, -1, 0.9)):
        pen.limb(
            [(x * size, 0.38 * size), (x * size + way * swing, 0.05)],
            0.1 * size,
            shade(look.main, tone),
        )
    pen.limb([(-0.28 * size, 0.46 * size), (0.24 * size, 0.48 * size)], 0.26 * size, look.main)
    pen.limb(
        [(-0.36 * size, 0.52 * size), (-0.56 * size, (0.72 + swing) * size)], 0.07 * size, look.main
    )
    pen.limb([(0.26 * size, 0.52 * size), (0.4 * size, 0.72 * size)], 0.17 * size, look.main)
    pen.limb([(0.27 * size, 0.62 * size), (0.38 * size, 0.56 * size)], 0.05 * size, look.third)
    pen.oval((0.43 * size, 0.76 * size), (0.14 * size, 0.12 * size), look.main)
    pen.limb([(0.48 * size, 0.73 * size), (0.62 * size, 0.71 * size)], 0.1 * size, look.main)
    pen.oval((0.66 * size, 0.73 * size), (0.035 * size, 0.035 * size), BLACK)
    pen.oval((0.47 * size, 0.79 * size), (0.022 * size, 0.022 * size), BLACK)
    pen.oval((0.35 * size, 0.74 * size), (0.06 * size, 0.13 * size), shade(look.main, 0.55))


def draw_pole(pen: Pen, look: Look, phase: float) -> None:
    """Draw the post of a traffic light."""
    pen.shadow(0.0, 0.3)
    pen.limb([(0.0, 0.05), (0.0, 2.75)], 0.12, (105, 100, 98))
    pen.rect(-0.16, 0.0, 0.32, 0.25, (80, 76, 74))


def draw_signal(pen: Pen, look: Look, phase: float) -> None:
    """Draw the head of a traffic light; the phase (0, 1, 2) tells which lamp is lit."""
    pen.poly(
        [
            (-0.26, 2.5),
            (0.26, 2.5),
            (0.3, 2.6),
            (0.3, 3.7),
            (0.26, 3.8),
            (-0.26, 3.8),
            (-0.3, 3.7),
            (-0.3, 2.6),
        ],
        (46, 50, 44),
    )
    for place, colour in enumerate(LAMP_COLOURS):
        lit = place == int(phase)
        pen.oval(
            (0.0, 3.55 - 0.4 * place), (0.17, 0.17), colour if lit else shade(colour, 0.28), lit=lit
        )


_Draw = Callable[[Pen, Look, float], None]
# What draws a kind, the box it needs (left, right, bottom, top), its phases per cycle and the
# metres that a cycle takes.
_DRAW: dict[str, tuple[_Draw, tuple[float, float, float, float], int, float]] = {
    "person": (draw_person, (-0.6, 0.6, -0.15, 2.15), 12, 1.5),
    "rider": (draw_rider, (-0.75, 0.75, 0.0, 2.05), 12, 4.2),
    "bicycle": (draw_bicycle, (-1.0, 1.0, -0.15, 1.15), 4, 1.05 / 3),
    "car": (draw_car, (-2.5, 4.4, -0.25, 2.1), 4, 2.1 / 5),
    "bus": (draw_bus, (-4.3, 6.4, -0.35, 3.1), 4, 2.9 / 5),
    "dog": (draw_dog, (-0.75, 0.8, -0.12, 1.05), 8, 0.8),
    "pole": (draw_pole, (-0.4, 0.4, -0.12, 2.8), 1, 1.0),
    "signal": (draw_signal, (-0.35, 0.35, 2.45, 3.85), 3, 1.0),
}


def step_of(kind: str, metres: float) -> int:
    """Return which drawing of its motion cycle a thing shows after some metres."""
    _, _, phases, cycle = _DRAW[kind]
    return int(metres / cycle * phases) % phases


def render(look: Look, step: int, ppm: float, mirrored: bool, light: Light) -> Sprite:
    """Render one drawing of the motion cycle at ``ppm`` pixels per metre."""
    draw, box, phases, _ = _DRAW[look.kind]
    pen = Pen(box, ppm, light)
    phase = float(step) if look.kind == "signal" or step < 0 else step / phases
    draw(pen, look, phase)
    return pen.finish(mirrored)
