"""COCO labels: one .json with images, annotations and categories (cocodataset.org, Data format)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from npud.errors import ConfigError
from runtime.accuracy.dataset import Dataset, Picture, Truth, make_truth


class _Image(msgspec.Struct):
    id: int | str
    file_name: str
    width: int = 0
    height: int = 0


class _Annotation(msgspec.Struct):
    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0
    area: float | None = None


class _Category(msgspec.Struct):
    id: int
    name: str


class _Coco(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def find(path: Path) -> Path | None:
    """The .json that `path` is, or that lies in it or in its annotations/; None: no such labels."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    for folder in (path, path / "annotations"):
        found = sorted(folder.glob("instances*.json"))
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise ConfigError(f"{folder}: expected one instances*.json, found {names}: name one")
        if found:
            return found[0]
    return None


def read(path: Path, images: Path | None = None) -> Dataset:
    """Read the labels; raises ConfigError."""
    document = _decode(path)
    document.categories.sort(key=lambda category: category.id)
    places = {category.id: place for place, category in enumerate(document.categories)}
    known = {image.id for image in document.images}
    of_image: dict[int | str, list[_Annotation]] = {}
    for number, one in enumerate(document.annotations):
        where = f"{path}: annotations[{number}]"
        if one.image_id not in known:
            raise ConfigError(f"{where}.image_id: expected the id of an image, got {one.image_id}")
        if one.category_id not in places:
            got = one.category_id
            raise ConfigError(f"{where}.category_id: expected the id of a category, got {got}")
        if min(one.bbox[2:]) < 0:
            size = f"{one.bbox[2]:g}×{one.bbox[3]:g}"
            raise ConfigError(f"{where}.bbox: expected x, y, width, height, got a size of {size}")
        of_image.setdefault(one.image_id, []).append(one)
    try:
        document.images.sort(key=lambda image: image.id)
    except TypeError:
        raise ConfigError(f"{path}: images: expected ids of one type, got both") from None
    if len(known) != len(document.images):
        raise ConfigError(f"{path}: images: expected each id once, got one twice")
    folder = images or _images_of(path, document.images)
    pictures = tuple(
        Picture(
            folder / image.file_name,
            image.id,
            _truth(of_image.get(image.id, []), places),
            (image.width, image.height) if image.width and image.height else None,
        )
        for image in document.images
    )
    names = tuple(category.name for category in document.categories)
    return Dataset(path, "COCO", names, pictures)


def _decode(path: Path) -> _Coco:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Coco)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text, _, place = str(error).partition(" - at `$.")
        key = f"{place[:-1]}: " if place else ""
        raise ConfigError(f"{path}: {key}expected COCO labels: {text}") from None


def _truth(found: list[_Annotation], places: dict[int, int]) -> Truth:
    return make_truth(
        [one.bbox for one in found],
        [places[one.category_id] for one in found],
        crowd=[bool(one.iscrowd) for one in found],
        areas=[one.bbox[2] * one.bbox[3] if one.area is None else one.area for one in found],
    )


def _images_of(path: Path, images: list[_Image]) -> Path:
    """Where the pictures usually lie: images/ or val2017/ beside, a level up, or with the file."""
    named = path.stem.removeprefix("instances_")
    roots = (path.parent, path.parent.parent)
    usual = [root / name for root in roots for name in ("images", named, f"images/{named}")]
    for folder in [*usual, path.parent]:
        if images and (folder / images[0].file_name).is_file():
            return folder
    return usual[0]
