"""Pascal VOC labels: an .xml per picture.

Corners are numbers of pixels from 1, both inclusive (VOC2012 development kit, section 4.2): the box
goes from xmin - 1 to xmax.  Objects marked difficult count neither as found nor as missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from npud.errors import ConfigError
from runtime.accuracy.dataset import Dataset, Picture, make_truth
from runtime.sources import IMAGE_SUFFIXES

CORNERS = ("xmin", "ymin", "xmax", "ymax")
Object = tuple[str, list[float], bool]  # name, x y width height, difficult


def find(path: Path) -> Path | None:
    """The folder of .xml files, or a list of an image set in a .txt; None: no such labels."""
    if path.is_file():
        listed = path.suffix == ".txt" and _annotations(path).is_dir()
        return path if listed else None
    for folder in (path / "Annotations", path):
        if next(folder.glob("*.xml"), None) is not None:
            return folder
    return None


def read(path: Path, images: Path | None = None) -> Dataset:
    """Read the labels; raises ConfigError naming the file and, where XML is broken, the line."""
    folder, files = path, sorted(path.glob("*.xml"))
    if path.is_file():  # VOC2007/ImageSets/Main/test.txt
        folder, lines = _annotations(path), _lines(path)
        files = sorted(folder / f"{line.split()[0]}.xml" for line in lines if line.strip())
    parsed = [_parse(file) for file in files]
    names = sorted({name for _, objects in parsed for name, _, _ in objects})
    pictures = tuple(
        _picture(file, number, name, objects, names, images)
        for number, (file, (name, objects)) in enumerate(zip(files, parsed), 1)
    )
    return Dataset(path, "VOC", tuple(names), pictures)


def _annotations(listed: Path) -> Path:
    """The folder of labels that a list in ImageSets/Main/ is of."""
    return listed.absolute().parent.parent.parent / "Annotations"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected names of pictures: {error}") from None


def _picture(
    file: Path,
    number: int,
    name: str,
    objects: Sequence[Object],
    names: Sequence[str],
    images: Path | None,
) -> Picture:
    usual = file.parent.parent / "JPEGImages"
    folders = [images] if images else [usual, file.parent.parent / "images", file.parent]
    tried = [name, *(f"{file.stem}{suffix}" for suffix in sorted(IMAGE_SUFFIXES))]
    paths = [folder / one for folder in folders for one in tried if one]
    truth = make_truth(
        [box for _, box, _ in objects],
        [names.index(label) for label, _, _ in objects],
        skip=[difficult for _, _, difficult in objects],
    )
    return Picture(next((path for path in paths if path.is_file()), paths[0]), number, truth)


def _parse(file: Path) -> tuple[str, list[Object]]:
    """(name of the picture, its objects)."""
    try:
        root = ElementTree.parse(file).getroot()  # noqa: S314 - expat bounds what entities expand to
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from None
    except ElementTree.ParseError as error:
        raise ConfigError(f"{file}:{error.position[0]}: expected VOC's XML: {error}") from None
    found = [_object(one, f"{file}: object {n}") for n, one in enumerate(root.iter("object"), 1)]
    name = (root.findtext("filename") or "").strip()
    return Path(name).name, found


def _object(element: ElementTree.Element, where: str) -> Object:
    name = (element.findtext("name") or "").strip()
    box = element.find("bndbox")
    if not name or box is None:
        raise ConfigError(f"{where}: expected a name and a bndbox, got one without")
    corners: list[float] = []
    for side in CORNERS:
        text = box.findtext(side) or ""
        try:
            corners.append(float(text))
        except ValueError:
            raise ConfigError(f"{where}: {side}: expected a number, got {text!r}") from None
    x1, y1, x2, y2 = corners[0] - 1, corners[1] - 1, corners[2], corners[3]
    if x2 <= x1 or y2 <= y1:
        raise ConfigError(f"{where}: expected xmin ≤ xmax and ymin ≤ ymax, got {corners}")
    difficult = (element.findtext("difficult") or "0").strip() not in ("", "0")
    return name, [x1, y1, x2 - x1, y2 - y1], difficult
