"""Labelled pictures in one form, whatever the labels' format: COCO, YOLO or Pascal VOC."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npud.errors import ConfigError, SourceError
from runtime.validate import nearest

SHOWN = 5  # names in an error


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects of one picture.

    boxes (N, 4) float64 x, y, width, height in pixels from the left top corner, as COCO has them;
    with `relative`, in fractions of the picture.  classes (N,) are indices into Dataset.labels.
    crowd (N,): a region of many objects (COCO's iscrowd); skip (N,): an object that counts neither
    as found nor as missed (VOC's difficult).  areas (N,) in square pixels, NaN for the box's own.
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    skip: NDArray[np.bool_]
    areas: NDArray[np.float64]
    relative: bool = False

    def __len__(self) -> int:
        return len(self.classes)

    def sized(self, width: int, height: int) -> Truth:
        """The same in pixels of a picture of this size."""
        if not self.relative:
            return self
        boxes = self.boxes * [width, height, width, height]
        return dataclasses.replace(self, boxes=boxes, relative=False)


@dataclass(frozen=True)
class Picture:
    """An image file with its objects; `key` is the id that the labels have for it."""

    path: Path
    key: int | str
    truth: Truth
    size: tuple[int, int] | None = None  # (width, height), where the labels say it


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures, in the order of their keys; labels are class names, () where unknown."""

    path: Path
    kind: str
    labels: tuple[str, ...]
    pictures: tuple[Picture, ...]


def make_truth(
    rows: Sequence[Sequence[float]],
    classes: Sequence[int],
    crowd: Sequence[bool] = (),
    skip: Sequence[bool] = (),
    areas: Sequence[float] = (),
    relative: bool = False,
) -> Truth:
    """Make a Truth of plain lists; flags that are not given are false."""
    count = len(classes)
    return Truth(
        np.array(rows, np.float64).reshape(count, 4),
        np.array(classes, np.int64),
        np.array(crowd or [False] * count, np.bool_),
        np.array(skip or [False] * count, np.bool_),
        np.array(areas or [np.nan] * count, np.float64),
        relative,
    )


def open_dataset(path: Path, images: Path | None = None) -> Dataset:
    """Read labels; `images` is the folder of the pictures where it is not the usual one.

    Raises ConfigError for labels that cannot be read, SourceError for a picture that is missing.
    """
    from runtime.accuracy import coco_labels, voc_labels, yolo_labels

    if not path.exists():
        raise ConfigError(f"{path}: expected labels, COCO, YOLO or VOC: no such file or directory")
    for reader in (coco_labels, voc_labels, yolo_labels):
        found = reader.find(path)
        if found is not None:
            return _checked(reader.read(found, images))
    raise ConfigError(
        f"{path}: expected labels: a COCO .json, a YOLO data.yaml or folder with labels/*.txt, or "
        "a VOC folder with Annotations/*.xml"
    )


def _checked(dataset: Dataset) -> Dataset:
    pictures = dataset.pictures
    if not pictures:
        raise ConfigError(f"{dataset.path}: expected pictures with labels, found none")
    missing = [picture.path for picture in pictures if not picture.path.is_file()]
    if missing:
        raise SourceError(
            f"{dataset.path}: expected the picture {missing[0]}: no such file "
            f"({len(missing)} of {len(pictures)} are missing); --images says where they are"
        )
    if not any(len(picture.truth) for picture in pictures):
        raise ConfigError(f"{dataset.path}: expected objects in {len(pictures)} pictures, got none")
    return dataset


@dataclass(frozen=True)
class ClassMap:
    """Which class of the model is which of the dataset.

    labels are the classes that are evaluated; `truth` maps the dataset's class ids to places in
    them, `model` those of the model.  A class that is in neither is left out.
    """

    labels: tuple[str, ...]
    truth: dict[int, int]
    model: dict[int, int]


def class_map(
    dataset: Dataset, labels: Sequence[str], count: int, wanted: Sequence[str] = ()
) -> ClassMap:
    """Pair classes by name, in any order and any case.

    labels are the model's names, () where it has none; `count` its number of classes, 0 where
    unknown.  Without names on one side the ids are taken to be the same.  `wanted` leaves out all
    other classes.  Raises ConfigError where the dataset has a class that the model does not.
    """
    names = dataset.labels or tuple(labels) or tuple(f"class {k}" for k in range(count))
    _check_ids(dataset, names)
    if not labels and (dataset.kind == "VOC" or (count and count != len(names))):
        raise ConfigError(
            f"{dataset.path}: {len(names)} classes have names, the model's {count or ''} have "
            "none; state `labels` in the model's manifest"
        )
    own = {_plain(name): index for index, name in enumerate(labels or names)}
    known = [_plain(name) for name in names]
    for name in wanted:
        if _plain(name) not in known:
            raise ConfigError(f"--classes: unknown class {name}{nearest(name, list(names))}")
    chosen = {_plain(name) for name in wanted} or set(known)
    kept = [index for index, name in enumerate(known) if name in chosen]
    lacking = [names[index] for index in kept if known[index] not in own]
    if lacking:
        shown = ", ".join(lacking[:SHOWN]) + (", …" if len(lacking) > SHOWN else "")
        raise ConfigError(
            f"{dataset.path}: {len(lacking)} of its {len(names)} classes are not among the model's "
            f"{len(labels)} labels: {shown}; correct the labels in the model's manifest, or choose "
            "with --classes"
        )
    truth = {index: place for place, index in enumerate(kept)}
    model = {own[known[index]]: place for place, index in enumerate(kept)}
    return ClassMap(tuple(names[index] for index in kept), truth, model)


def _check_ids(dataset: Dataset, names: Sequence[str]) -> None:
    for picture in dataset.pictures:
        if len(picture.truth) and picture.truth.classes.max() >= len(names):
            raise ConfigError(
                f"{dataset.path}: {picture.path.name}: expected class ids below {len(names)}, the "
                f"number of labels, got {picture.truth.classes.max()}"
            )


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())
