"""YOLO labels: a .txt per picture, a line per object: class, centre x, y, width, height in 0..1.

A line of a polygon (class, x1, y1, x2, y2, x3, y3, …) stands for the box around it.  A picture
without a .txt has no objects.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from npud.errors import ConfigError
from runtime.accuracy.dataset import Dataset, Picture, Truth, make_truth
from runtime.sources.images import list_images

SLACK = 1e-3  # labels are rounded: a box may reach this far out of the picture
YAML = frozenset({".yaml", ".yml"})
NAMES = ("classes.txt", "obj.names")


def find(path: Path) -> Path | None:
    """A data.yaml, or the folder of labels (itself, or labels/ in it); None: no such labels."""
    if path.is_file():
        return path if path.suffix.lower() in YAML else None
    if (path / "data.yaml").is_file():
        return path / "data.yaml"
    for folder in (path / "labels", path):
        if next(folder.rglob("*.txt"), None) is not None:
            return folder
    return None


def read(path: Path, images: Path | None = None) -> Dataset:
    """Read the labels; raises ConfigError naming file and line."""
    if path.is_file():
        names, files = _from_yaml(path, images)
    else:
        names, files = _names_beside(path), _from_folder(path, images)
    pictures = tuple(
        Picture(image, number, _truth(label, len(names)))
        for number, (image, label) in enumerate(files, 1)
    )
    if not any(label.is_file() for _, label in files):
        raise ConfigError(f"{path}: expected labels like {files[0][1]}: no picture has any")
    return Dataset(path, "YOLO", names, pictures)


def _from_folder(labels: Path, images: Path | None) -> list[tuple[Path, Path]]:
    folder = images or labels.parent / "images"
    if not folder.is_dir():
        raise ConfigError(f"{labels}: expected the pictures in {folder}; --images says where")
    files = [image for place in [folder, *_folders(folder)] for image in _listed(place)]
    return [(file, labels / file.relative_to(folder).with_suffix(".txt")) for file in files]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_dir())


def _listed(folder: Path) -> list[Path]:
    return list_images(str(folder)) if any(path.is_file() for path in folder.iterdir()) else []


def _names_beside(labels: Path) -> tuple[str, ...]:
    for folder in (labels, labels.parent):
        for name in NAMES:
            if (folder / name).is_file():
                lines = _lines(folder / name)
                return tuple(line.strip() for line in lines if line.strip())
    return ()


def _from_yaml(path: Path, images: Path | None) -> tuple[tuple[str, ...], list[tuple[Path, Path]]]:
    """Names, and pictures with their labels, of an Ultralytics data.yaml; the split is val."""
    document = _yaml(path)
    root = path.parent / str(document.get("path") or "")
    wanted = document.get("val") or document.get("test")
    if images is not None:
        places = [images]
    elif wanted:
        places = [_place(root, str(w)) for w in (wanted if isinstance(wanted, list) else [wanted])]
    else:
        raise ConfigError(f"{path}: val: this key is required: where the pictures are")
    files: list[Path] = []
    for place in places:
        if place.suffix == ".txt":
            files += [place.parent / line.strip() for line in _lines(place) if line.strip()]
        elif place.is_dir():
            files += [image for folder in [place, *_folders(place)] for image in _listed(folder)]
        else:
            raise ConfigError(f"{path}: val: expected a folder or a .txt of pictures, got {place}")
    if not files:
        raise ConfigError(f"{path}: val: expected pictures in {places[0]}, found none")
    return _names(path, document.get("names")), [(file, _label_of(file)) for file in files]


def _place(root: Path, name: str) -> Path:
    """Roboflow writes ../valid/images for what lies beside the file."""
    place = root / name
    if not place.exists() and name.startswith("../"):
        return root / name.removeprefix("../")
    return place


def _names(path: Path, names: Any) -> tuple[str, ...]:
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[key] for key in sorted(names)]
    if not isinstance(names, list) or not names:
        raise ConfigError(f"{path}: names: expected a list of class names, got {names!r}")
    return tuple(map(str, names))


def _yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"{path}: expected PyYAML to read it; remedy: pip install 'npud[workbench]'"
        ) from None
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: expected YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected the keys val and names, got {document!r}")
    return document


def _label_of(image: Path) -> Path:
    """The labels of a picture: the last images/ of its path is labels/ there."""
    parts = list(image.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected text: {error}") from None


def _truth(path: Path, classes: int) -> Truth:
    """Read one file, (N, 4) relative boxes; `classes` is 0 where the number is not known."""
    rows: list[list[float]] = []
    ids: list[int] = []
    for number, line in enumerate(_lines(path) if path.is_file() else [], 1):
        if line.strip():
            class_id, box = _object(line, f"{path}:{number}", classes)
            rows.append(box)
            ids.append(class_id)
    return make_truth(rows, ids, relative=True)


def _object(line: str, where: str, classes: int) -> tuple[int, list[float]]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        values = []
    polygon = len(values) >= 7 and len(values) % 2 == 1
    if not (len(values) == 5 or polygon) or not all(map(math.isfinite, values)):
        raise ConfigError(f"{where}: expected class, x, y, width, height, got {line.strip()!r}")
    class_id, rest = int(values[0]), values[1:]
    if class_id != values[0] or class_id < 0 or (classes and class_id >= classes):
        expected = f"a class id below {classes}" if classes else "a class id, an integer from 0"
        raise ConfigError(f"{where}: expected {expected}, got {line.split()[0]}")
    if min(rest) < -SLACK or max(rest) > 1 + SLACK:
        raise ConfigError(f"{where}: expected fractions of the picture, 0..1, got {line.strip()!r}")
    if polygon:
        left, top, right, bottom = min(rest[::2]), min(rest[1::2]), max(rest[::2]), max(rest[1::2])
        return class_id, [left, top, right - left, bottom - top]
    x, y, width, height = rest
    return class_id, [x - width / 2, y - height / 2, width, height]
