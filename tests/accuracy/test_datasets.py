"""Labels of three formats in one form, and one line for each mistake in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from npud.errors import NpudError
from runtime.accuracy.dataset import Dataset, class_map, open_dataset
from runtime.scenes import LABELS
from tests.accuracy import labelled


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled.write(tmp_path_factory.mktemp("scenes"), 3)


def objects(dataset: Dataset) -> list[list[object]]:
    """Per picture its file name and (label, rounded box), sorted."""
    out = []
    for picture in dataset.pictures:
        truth = picture.truth.sized(*labelled.SIZE)
        rows = [
            (dataset.labels[c], *np.round(box, 6)) for c, box in zip(truth.classes, truth.boxes)
        ]
        out.append([picture.path.name, sorted(rows)])
    return out


def test_all_formats_say_the_same(scenes: Path) -> None:
    places = ("instances.json", "", "data.yaml", "Annotations")
    coco, folder, yolo, voc = (open_dataset(scenes / place) for place in places)
    assert (coco.kind, folder.kind, yolo.kind, voc.kind) == ("COCO", "COCO", "YOLO", "VOC")
    assert objects(coco) == objects(folder) == objects(yolo) == objects(voc)
    assert sum(len(rows) for _, rows in objects(coco)) > 10  # type: ignore[arg-type, misc]
    (scenes / "labels" / "classes.txt").write_text("\n".join(LABELS))
    assert objects(open_dataset(scenes / "labels")) == objects(coco)


def test_a_list_of_voc_names_and_difficult_objects(tmp_path: Path) -> None:
    scene = labelled.write(tmp_path / "s", 3)
    (scene / "ImageSets/Main").mkdir(parents=True)
    (scene / "images").rename(scene / "JPEGImages")
    names = scene / "ImageSets/Main/val.txt"
    names.write_text("0003 1\n0001 -1\n")
    path = scene / "Annotations/0003.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
    first, second = open_dataset(names).pictures
    assert [p.path.name for p in (first, second)] == ["0001.png", "0003.png"]
    assert not first.truth.skip.any()
    assert second.truth.skip.tolist()[:2] == [True, False]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.txt", b"a.jpg", "expected labels: a COCO .json"),
        ("x.json", b"[]", "expected COCO labels"),
        ("x.json", b"\xff\xfe\x00", "expected COCO labels"),
        ("x.yaml", b"\xff\xfe\x00", "expected YAML"),
        ("x.yaml", b"val: [", "expected YAML"),
        ("x.yaml", b"- 1", "expected the keys val and names"),
        ("x.yaml", b"names: [a]", "val: this key is required"),
        ("x.yaml", b"val: none\nnames: [a]", "val: expected a folder or a .txt of pictures"),
        ("x.yaml", b"val: .\nnames: {1: a}", "names: expected a list of class names"),
    ],
)
def test_files_that_are_no_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(data)
    Path("a.jpg").write_bytes(b"")
    with pytest.raises(NpudError) as error:
        open_dataset(Path(name))
    assert str(error.value).startswith(f"{name}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_yolo_polygon_stands_for_its_box(tmp_path: Path) -> None:
    scene = labelled.write(tmp_path / "s", 1)
    (scene / "labels/0001.txt").write_text("0 0.1 0.2 0.5 0.2 0.3 0.6\n\n1 0.5 0.5 0.5 0.5\n")
    (picture,) = open_dataset(scene / "labels").pictures
    assert picture.truth.boxes.tolist() == pytest.approx(
        np.array([[0.1, 0.2, 0.4, 0.4], [0.25, 0.25, 0.5, 0.5]])
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "expected class, x, y, width, height, got '0 0.5 0.5 0.1'"),
        ("0 0.5 0.5 nan 0.1", "expected class, x, y, width, height"),
        ("car 0.5 0.5 0.1 0.1", "expected class, x, y, width, height"),
        ("6 0.5 0.5 0.1 0.1", "expected a class id below 6, got 6"),
        ("0.5 0.5 0.5 0.1 0.1", "expected a class id below 6, got 0.5"),
        ("0 320 240 50 60", "expected fractions of the picture, 0..1"),
    ],
)
def test_a_wrong_yolo_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    scene = labelled.write(tmp_path / "s", 1)
    path = scene / "labels/0001.txt"
    path.write_text(f"1 0.5 0.5 0.2 0.2\n{line}\n")
    with pytest.raises(NpudError) as error:
        open_dataset(scene / "data.yaml")
    assert str(error.value).startswith(f"{path}:2: {message}")


def coco(scene: Path, change: str) -> Path:
    """instances.json with something wrong in it."""
    path = scene / "instances.json"
    document = json.loads(path.read_text())
    if change == "image":
        document["annotations"][1]["image_id"] = 77
    elif change == "category":
        document["annotations"][1]["category_id"] = 1
    elif change == "size":
        document["annotations"][1]["bbox"][2] = -4
    elif change == "type":
        document["annotations"][1]["bbox"] = [1, 2, 3]
    elif change == "twice":
        document["images"] *= 2
    elif change == "empty":
        document["annotations"] = []
    path.write_text(json.dumps(document) if change != "cut" else path.read_text()[:300])
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("image", "annotations[1].image_id: expected the id of an image, got 77"),
        ("category", "annotations[1].category_id: expected the id of a category, got 1"),
        ("size", "annotations[1].bbox: expected x, y, width, height, got a size of -4"),
        ("type", "annotations[1].bbox: expected COCO labels: Expected `array` of length 4"),
        ("twice", "images: expected each id once"),
        ("empty", "expected objects in 1 pictures, got none"),
        ("cut", "expected COCO labels: "),
    ],
)
def test_a_wrong_coco_file_is_named(tmp_path: Path, change: str, message: str) -> None:
    path = coco(labelled.write(tmp_path / "s", 1), change)
    with pytest.raises(NpudError) as error:
        open_dataset(path)
    assert str(error.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation>\n<object>", ":2: expected VOC's XML: "),
        ("<a><object><name>car</name></object></a>", ": object 1: expected a name and a bndbox"),
        (
            "<a><object><name>car</name><bndbox><xmin>x</xmin></bndbox></object></a>",
            ": object 1: xmin: expected a number, got 'x'",
        ),
    ],
)
def test_a_wrong_voc_file_is_named(tmp_path: Path, xml: str, message: str) -> None:
    scene = labelled.write(tmp_path / "s", 1)
    path = scene / "Annotations/0001.xml"
    path.write_text(xml)
    with pytest.raises(NpudError) as error:
        open_dataset(path.parent)
    assert str(error.value).startswith(f"{path}{message}")


def test_missing_things(tmp_path: Path) -> None:
    scene = labelled.write(tmp_path / "s", 2)
    with pytest.raises(NpudError, match="no such file or directory"):
        open_dataset(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NpudError, match=r"expected labels: a COCO \.json, a YOLO data\.yaml"):
        open_dataset(tmp_path / "empty")
    (scene / "images/0002.png").unlink()
    with pytest.raises(NpudError, match=r"expected the picture .*0002\.png.*1 of 2 are missing"):
        open_dataset(scene / "instances.json")


def test_classes_are_paired_by_name(scenes: Path) -> None:
    dataset = open_dataset(scenes / "instances.json")
    shuffled = ("nothing", *(name.upper().replace(" ", "_") for name in LABELS[::-1]))
    mapped = class_map(dataset, shuffled, 7)
    assert mapped.labels == tuple(LABELS)
    assert mapped.model == {k + 1: len(LABELS) - 1 - k for k in range(len(LABELS))}
    only = class_map(dataset, shuffled, 7, ["car"])
    assert only.labels == ("car",)
    assert only.truth == {LABELS.index("car"): 0}
    with pytest.raises(NpudError, match="1 of its 6 classes are not among the model's 5 labels"):
        class_map(dataset, LABELS[:-1], 5)
    assert class_map(dataset, LABELS[:-1], 5, LABELS[:2]).labels == tuple(LABELS[:2])
    with pytest.raises(NpudError, match="--classes: unknown class caar; did you mean car"):
        class_map(dataset, LABELS, 6, ["caar"])
    assert class_map(dataset, (), 6).model == {k: k for k in range(6)}
    with pytest.raises(NpudError, match="6 classes have names, the model's 80 have none"):
        class_map(dataset, (), 80)
