"""Run a model over labelled pictures and keep what it finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from npud.detections import Detections
from npud.errors import SourceError
from runtime import config, models
from runtime.accuracy.dataset import Dataset, Picture
from runtime.accuracy.log import Header, Log
from runtime.accuracy.records import Result, record_of
from runtime.detector import ModelFiles, Timing
from runtime.frame import Frame
from runtime.sources.images import read_image

# mAP is the area under the precision-recall curve down to this score.  What a model finds at its
# deployed threshold is what it finds here, less what has a lower score: NMS keeps or drops a box
# because of better ones only, and max_detections keeps the best.
LOWEST_SCORE = 0.001


class Finder(Protocol):
    """What is evaluated: a Detector, or a part of the way replaced."""

    def detect(self, frame: Frame) -> tuple[Detections, Timing]:
        """Find objects, boxes in source pixels."""
        ...


@dataclass(frozen=True)
class Run:
    """What was found, picture by picture; `interrupted` where the user ended it early."""

    pictures: tuple[Picture, ...]
    results: tuple[Result, ...]
    interrupted: bool = False


def at_lowest_score(settings: config.Model) -> config.Model:
    """The same settings with the threshold that mAP needs."""
    lowest = min(settings.score_threshold, LOWEST_SCORE)
    return msgspec.structs.replace(settings, score_threshold=lowest)


def header_of(
    files: ModelFiles, settings: config.Model, chip: config.Backend, dataset: Dataset, step: str
) -> Header:
    """What a log's results depend on."""
    return {
        "model": files.name,
        "manifest": files.manifest_digest,
        "step": step,
        "settings": msgspec.to_builtins(settings) | {"path": None, "manifest": None},
        "backend": msgspec.to_builtins(chip),
        "labels": f"{dataset.path.name}@{_digest(dataset.path)}",
    }


def _digest(path: Path) -> str:
    """Digest of a labels' file; of a folder its name has to do."""
    return models.digest(path) if path.is_file() else ""


@dataclass(frozen=True)
class Lane:
    """One thing to evaluate, and where its results go."""

    finder: Finder
    log: Log
    labels: tuple[str, ...] = ()


def run(
    lanes: Sequence[Lane],
    pictures: Sequence[Picture],
    advance: Callable[[], None] = lambda: None,
) -> list[Run]:
    """Evaluate `pictures` in order, each by all lanes; what a lane's log has is not run again.

    `advance` is called after each picture.  Ctrl-C ends it with what was done, the same pictures by
    all lanes.  Raises SourceError for a picture that cannot be read, or is not as large as its
    labels say.
    """
    done: list[tuple[Picture, list[Result]]] = []
    interrupted = False
    try:
        for picture in pictures:
            done.append((picture, _evaluate(lanes, picture)))
            advance()
    except KeyboardInterrupt:
        interrupted = True
    kept = tuple(picture for picture, _ in done)
    return [
        Run(kept, tuple(results[number] for _, results in done), interrupted)
        for number in range(len(lanes))
    ]


def _evaluate(lanes: Sequence[Lane], picture: Picture) -> list[Result]:
    name, frame, results = str(picture.path), None, []
    for lane in lanes:
        result = lane.log.done.get(name)
        if result is None:
            frame = frame or _frame(picture)
            found, timing = lane.finder.detect(frame)
            result = lane.log.add(record_of(picture.path, frame, found, timing, lane.labels))
        results.append(result)
    return results


def _frame(picture: Picture) -> Frame:
    frame = Frame(read_image(picture.path), name=str(picture.path))
    got = (frame.width_px, frame.height_px)
    if picture.size and picture.size != got:
        raise SourceError(
            f"{picture.path}: expected {picture.size[0]}×{picture.size[1]} pixels, as its labels "
            f"say, got {got[0]}×{got[1]}"
        )
    return frame


def as_json(figures: Any) -> dict[str, Any]:
    """Figures with what follows from their counts."""
    text: dict[str, Any] = dataclasses.asdict(figures)
    for place, part in [(text, figures), *zip(text["classes"], figures.classes)]:
        for key in ("deployed", "best"):
            counted = getattr(part, key)
            place[key] |= {n: getattr(counted, n) for n in ("precision", "recall", "f1")}
    return text
