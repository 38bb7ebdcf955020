"""Generated street scenes with known truth: what the built-in camera shows without hardware.

A `Street` is a fixed view across a road. What drives, rides and walks there follows from the seed
and the frame's index alone, so any frame can be drawn at any time, and always comes out the same.

The truth is the same everywhere. Pixels are too with one release of OpenCV on one architecture;
others may round a few in ten thousand differently, along the edges of what is drawn.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.scenes.backdrop import View, draw_backdrop, make_view
from runtime.scenes.figures import make_look, render, step_of
from runtime.scenes.sprites import Look, Sprite

LABELS: tuple[str, ...] = ("person", "bicycle", "car", "bus", "dog", "traffic light")
FPS = 30
MIN_VISIBLE = 0.4
"""The truth leaves out a thing if less than this part of it is not hidden by others,"""
MIN_INSIDE = 0.2
"""or if less than this part of it is inside the frame,"""
MIN_SIDE = 12 / 640
"""or if it is narrower or lower than this part of the frame's longer side."""

_CLASS = {"person": 0, "rider": 0, "bicycle": 1, "car": 2, "bus": 3, "dog": 4, "signal": 5}
_KEPT_SPRITES = 320
_NOISE_MARGIN = 61


@dataclass(frozen=True)
class Truth:
    """What can be seen in a frame: boxes (N, 4) as x1, y1, x2, y2 in pixels, class ids (N,)."""

    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]


@dataclass(frozen=True)
class Track:
    """A line parallel to the road on which things move one after another.

    ``y`` is where their feet or wheels are, ``ppm`` the pixels per metre there, ``speed`` in
    metres per second, ``way`` +1 to the right or -1 to the left, ``gap`` the pixels between two
    ``slots``, ``start`` an offset in pixels, and ``kinds`` what may occupy a slot.
    """

    number: int
    y: int
    ppm: float
    speed: float
    way: int
    gap: float
    slots: int
    start: float
    margin: float
    kinds: tuple[tuple[str, ...], ...]


class Street:
    """A view of a street; ``size`` is (width, height), frames follow at 30 per second."""

    def __init__(self, seed: int = 0, size: tuple[int, int] = (1280, 720)) -> None:
        width, height = size
        if width < 32 or height < 32:
            raise ValueError(f"a street needs at least 32x32 pixels, not {width}x{height}")
        self.seed = seed % 2**63
        self.size = (width, height)
        rng = np.random.default_rng([self.seed, 1])
        self._view: View = make_view(rng, width, height)
        self._tracks = self._lay_tracks(rng)
        self._backdrop = draw_backdrop(self._view, np.random.default_rng([self.seed, 2]))
        level = 7 if self._view.light.lamps else 5
        shape = (height + _NOISE_MARGIN, width + _NOISE_MARGIN, 3)
        self._noise = np.random.default_rng([self.seed, 3]).integers(0, level, shape, np.uint8)
        self._looks: dict[tuple[int, int, int], list[Look]] = {}
        self._sprites: OrderedDict[tuple[Look, int, int, float], Sprite] = OrderedDict()

    def frame(self, index: int) -> tuple[NDArray[np.uint8], Truth]:
        """Draw the frame with this index (from 0 on, without limit), as BGR, and its truth."""
        if index < 0:
            raise ValueError(f"frames are counted from 0, not {index}")
        image = self._backdrop.copy()
        owner = np.zeros(image.shape[:2], np.uint8)
        placed: list[tuple[Sprite, int, int, int]] = []
        for track in self._tracks:
            for look, step, x in self._occupants(track, index):
                sprite = self._sprite(look, step, track)
                left, top = x + sprite.left, track.y + sprite.top
                if self._paste(image, owner, sprite, left, top, len(placed) + 1):
                    placed.append((sprite, left, top, _CLASS.get(look.kind, -1)))
        return self._grain(image, index), self._truth(owner, placed)

    def _lay_tracks(self, rng: np.random.Generator) -> list[Track]:
        view = self._view
        tracks: list[Track] = []

        def lay(at: float, speed: float, metres: float, *kinds: tuple[str, ...]) -> None:
            ppm = view.ppm(at)
            margin = 7.0 * ppm if metres else 0.0
            span = view.width + 2 * margin
            slots = max(1, int(span / (metres * ppm))) if metres else 1
            tracks.append(
                Track(
                    number=len(tracks),
                    y=round(at * view.height),
                    ppm=ppm,
                    speed=speed,
                    way=1 if rng.random() < 0.5 else -1,
                    gap=span / slots,
                    slots=slots,
                    start=float(rng.uniform(0, span)),
                    margin=margin,
                    kinds=kinds,
                )
            )

        lanes = int(rng.integers(2, 4))
        for lane in range(lanes):
            at = view.kerb_far + (view.kerb_near - view.kerb_far) * (lane + 0.62) / lanes
            lay(
                at,
                rng.uniform(3, 9),
                rng.uniform(10.5, 15),
                ("car",),
                ("car",),
                ("car",),
                ("car",),
                ("car",),
                ("bus",),
                ("bus",),
                (),
            )
        for edge in (view.kerb_far + 0.015, view.kerb_near - 0.01):
            if rng.random() < 0.8:
                lay(edge, rng.uniform(2.5, 4.5), rng.uniform(7, 15), ("bicycle", "rider"), ())
        for low, high, count in (
            (view.ground + 0.012, view.kerb_far, int(rng.integers(3, 7))),
            (view.kerb_near + 0.03, 0.985, int(rng.integers(2, 5))),
        ):
            for _ in range(count):
                pause = rng.random() < 0.15
                who = ("dog",) if rng.random() < 0.45 else ("person",)
                lay(
                    rng.uniform(low, high),
                    0.0 if pause else rng.uniform(0.8, 1.7),
                    rng.uniform(9, 20),
                    who,
                    ("person",),
                    (),
                )
        for at in (view.kerb_far - 0.004, view.kerb_near + 0.025):
            for _ in range(int(rng.integers(0, 3))):
                lay(at, 0.0, 0.0, ("pole", "signal"))
        return sorted(tracks, key=lambda track: (track.y, track.number))

    def _occupants(self, track: Track, index: int) -> list[tuple[Look, int, int]]:
        """List what is on a track: its look, its step of motion and its x in pixels."""
        found = []
        metres = track.speed * index / FPS
        span = track.gap * track.slots
        for slot in range(track.slots):
            along = track.start + slot * track.gap + metres * track.ppm
            lap = math.floor(along / span)
            x = round(along - lap * span - track.margin)
            x = x if track.way > 0 else self.size[0] - x
            for look in self._who(track, slot, lap):
                if look.kind == "signal":
                    step = (index // FPS + slot) % 16
                    step = 0 if step < 7 else 1 if step < 9 else 2
                elif look.kind == "person" and not track.speed:
                    step = -1
                else:
                    step = step_of(look.kind, metres + slot * 0.37)
                found.append((look, step, x))
        return found

    def _who(self, track: Track, slot: int, lap: int) -> list[Look]:
        key = (track.number, slot, lap)
        looks = self._looks.get(key)
        if looks is None:
            rng = np.random.default_rng([self.seed, 4, *key])
            kinds = track.kinds[int(rng.integers(len(track.kinds)))]
            looks = [make_look(kind, rng) for kind in kinds]
            if len(self._looks) > 512:
                self._looks.clear()
            self._looks[key] = looks
        return looks

    def _sprite(self, look: Look, step: int, track: Track) -> Sprite:
        key = (look, step, track.way, track.ppm)
        sprite = self._sprites.get(key)
        if sprite is None:
            sprite = render(look, step, track.ppm, track.way < 0, self._view.light)
            self._sprites[key] = sprite
            if len(self._sprites) > _KEPT_SPRITES:
                self._sprites.popitem(last=False)
        else:
            self._sprites.move_to_end(key)
        return sprite

    def _paste(
        self,
        image: NDArray[np.uint8],
        owner: NDArray[np.uint8],
        sprite: Sprite,
        left: int,
        top: int,
        number: int,
    ) -> bool:
        """Blend a sprite into the image and mark its pixels as owned; False if it is outside."""
        height, width = sprite.solid.shape
        x1, x2 = max(left, 0), min(left + width, self.size[0])
        y1, y2 = max(top, 0), min(top + height, self.size[1])
        if x1 >= x2 or y1 >= y2 or number > 255:
            return False
        cut = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
        patch = image[y1:y2, x1:x2]
        cv2.multiply(patch, sprite.keep[cut], patch, scale=1 / 255)
        cv2.add(patch, sprite.colour[cut], patch)
        np.copyto(owner[y1:y2, x1:x2], number, where=sprite.solid[cut])
        return True

    def _grain(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Add the noise of a sensor: the difference of two shifted views of one noise field."""
        for way, operation in ((17, cv2.add), (29, cv2.subtract)):
            x, y = index * way % _NOISE_MARGIN, index * (way + 6) // 7 % _NOISE_MARGIN
            noise = self._noise[y : y + self.size[1], x : x + self.size[0]]
            operation(image, noise, image)
        return image

    def _truth(self, owner: NDArray[np.uint8], placed: list[tuple[Sprite, int, int, int]]) -> Truth:
        """Box the pixels that each thing still owns."""
        boxes, class_ids = [], []
        side = max(4.0, MIN_SIDE * max(self.size))
        for number, (sprite, left, top, class_id) in enumerate(placed, 1):
            if class_id < 0:
                continue
            height, width = sprite.solid.shape
            x0, y0 = max(left, 0), max(top, 0)
            seen = owner[y0 : top + height, x0 : left + width] == number
            inside = np.count_nonzero(
                sprite.solid[y0 - top :, x0 - left :][: len(seen), : seen.shape[1]]
            )
            shown = np.count_nonzero(seen)
            if not shown or inside < MIN_INSIDE * sprite.area or shown < MIN_VISIBLE * inside:
                continue
            columns = np.flatnonzero(seen.any(axis=0))
            rows = np.flatnonzero(seen.any(axis=1))
            box = (x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1)
            if min(box[2] - box[0], box[3] - box[1]) >= side:
                boxes.append(box)
                class_ids.append(class_id)
        return Truth(np.array(boxes, np.float32).reshape(-1, 4), np.array(class_ids, np.int32))
