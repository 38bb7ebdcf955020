"""The two sides of a comparison: a model on pictures, or options on recorded outputs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from npud.errors import EndOfStream, NpudError, RecordError, SourceError
from postprocess.decoder import Decoder
from postprocess.plan import HeadPlan
from runtime import config
from runtime.ab.pairs import Found
from runtime.config import Config
from runtime.detector import Detector, Timing, read_model
from runtime.frame import Frame
from runtime.golden.tensors import Key, Values, by_meaning, probabilities
from runtime.input_spec import InputSpec
from runtime.recording import pictures
from runtime.recording.reader import Reader, Recorded
from runtime.sources import open_source
from runtime.sources.images import list_images, read_image

FLOOR = 0.5  # boxes are looked for down to this part of the threshold: flips are told from losses
SATURATED = 0.9999  # a probability that the sigmoid cannot tell from one


@dataclass(frozen=True, eq=False)
class Item:
    """A frame, and what was recorded of it, if it is from a recording."""

    frame: Frame
    recorded: Recorded | None = None


@dataclass
class Levels:
    """How finely scores come: distinct ones, and those that are saturated, over the floor."""

    distinct: set[float] = field(default_factory=set)
    values: int = 0
    saturated: int = 0

    def counts(self) -> tuple[int, int, int]:
        """Distinct ones, all, and saturated ones."""
        return len(self.distinct), self.values, self.saturated

    def look(self, outputs: Mapping[Key, Values], plan: HeadPlan, floor: float) -> None:
        """Count the scores of all cells and classes that reach the floor."""
        for key, values in outputs.items():
            if key.role == "cls":
                self._add(probabilities(values, plan.activation), floor)

    def _add(self, scores: NDArray[np.float32], floor: float) -> None:
        high = scores[scores >= floor]
        self.values += len(high)
        self.saturated += int((high >= SATURATED).sum())
        if len(self.distinct) < 100_000:
            self.distinct.update(np.unique(high).tolist())


class Variant(Protocol):
    """One side."""

    name: str
    threshold: float
    labels: tuple[str, ...]
    levels: Levels

    @property
    def plan(self) -> HeadPlan | None:
        """How its head is read; None before the first frame of a recording."""
        ...

    @property
    def input(self) -> InputSpec | None:
        """How it is fed; None where it was recorded."""
        ...

    def look(self, item: Item) -> Found:
        """Find objects; raises InferenceError or RecordError."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class ModelVariant:
    """A model with its options, on pictures."""

    def __init__(self, settings: Config, name: str, lowest_score: float = 1.0) -> None:
        model = settings.model
        self.threshold, self.name, self.levels = model.score_threshold, name, Levels()
        self._floor = FLOOR * model.score_threshold
        least = min(self._floor, lowest_score)
        lowest = msgspec.structs.replace(model, score_threshold=least)
        self._detector = Detector(read_model(model), lowest, settings.backend)
        self.labels = self._detector.files.labels
        self.plan, self.input = self._detector.plan, self._detector.input
        self._moved = self._detector.setup.moved_bytes

    def look(self, item: Item) -> Found:
        """Run the model."""
        begun = time.process_time_ns()
        seen = self._detector.observe(item.frame)
        spent = (time.process_time_ns() - begun) // 1000
        outputs = by_meaning(self.plan, self._detector.backend.outputs, seen.outputs)
        self.levels.look(outputs, self.plan, self._floor)
        return Found(seen.found, seen.timing, spent, self._moved, outputs)

    def close(self) -> None:
        """Free the model."""
        self._detector.close()


class RecordedVariant:
    """Options of the post-processing, on outputs that were recorded."""

    def __init__(self, settings: Config, name: str, given: Sequence[str]) -> None:
        self._options = {key: getattr(settings.model, key) for key in given}
        if self._options.get("sigmoid") == "npu":
            self._options["sigmoid"] = "none"
        self.threshold, self.name, self.levels = settings.model.score_threshold, name, Levels()
        self._floor = FLOOR * self.threshold
        self._decoders: dict[str, Decoder] = {}
        self.labels: tuple[str, ...] = ()
        self.plan: HeadPlan | None = None
        self.input: InputSpec | None = None

    def look(self, item: Item) -> Found:
        """Decode the recorded outputs."""
        assert item.recorded is not None  # noqa: S101 - opened on a recording only
        setup, tensors = item.recorded.setup, item.recorded.tensors
        if setup.id not in self._decoders:
            chosen = {**self._options, "score_threshold": self._floor}
            self._decoders[setup.id] = setup.decoder(chosen)
            self.labels, self.plan = setup.labels, setup.plan
        outputs = tensors.arrays(setup.specs)
        times = [time.perf_counter_ns(), time.process_time_ns()]
        try:
            found = self._decoders[setup.id](outputs)
        except (NpudError, ValueError) as error:
            raise RecordError(f"frame {tensors.frame}: {error}") from None
        spent = [time.perf_counter_ns() - times[0], time.process_time_ns() - times[1]]
        self.levels.look(by_meaning(setup.plan, setup.specs, outputs), setup.plan, self._floor)
        found = tensors.fit.letterbox().to_source(found)
        timing = Timing(0, 0, spent[0] // 1000)
        return Found(found, timing, spent[1] // 1000, setup.moved_bytes)

    def close(self) -> None:
        """Nothing is held open."""


def images(pattern: str, limit: int | None) -> Iterator[Item]:
    """The pictures of a file, directory or glob."""
    for path in list_images(pattern)[:limit]:
        yield Item(Frame(read_image(path), name=str(path)))


def video(url: str, limit: int | None) -> Iterator[Item]:
    """The frames of a video, from its beginning."""
    source = open_source(url)
    try:
        for number in range(limit or 1 << 60):
            frame = source.read()
            pixels = frame.pixels.copy()
            yield Item(replace(frame, pixels=pixels, name=f"frame {number}", index=number))
    except EndOfStream:
        return
    finally:
        source.close()


def recording(path: Path, limit: int | None, *, with_pictures: bool) -> Iterator[Item]:
    """The frames of a recording; raises RecordError where it has no pictures and must."""
    for number, one in enumerate(Reader(path)):
        if limit and number >= limit:
            return
        if one.picture:
            pixels = pictures.decode(one.picture[1], one.picture[0])
        elif with_pictures:
            raise RecordError(f"{path}: it has no pictures, which models need (--frames none)")
        else:
            size = (one.published.height, one.published.width, 3)
            pixels = np.zeros(size, np.uint8)
        name = f"{one.published.camera} frame {one.published.frame}"
        yield Item(Frame(pixels, name=name, index=one.published.frame), one)


def rate_of(url: str) -> int:
    """Frames of a second of a video, at least 1."""
    try:
        source = open_source(url)
    except SourceError:
        return 1
    rate = max(1, round(source.fps))
    source.close()
    return rate


def changed(settings: config.Model, base: config.Model) -> tuple[str, ...]:
    """The options of the post-processing that differ from the defaults of the recording."""
    keys = ("iou_threshold", "max_detections", "sigmoid", "table_size", "table_range")
    found: list[str] = [k for k in keys if _of(settings, k) != _of(base, k)]
    if settings.nms != "auto":
        found.append("nms")
    return tuple(found)


def _of(settings: config.Model, key: str) -> Any:
    return getattr(settings, key)
