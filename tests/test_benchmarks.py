"""The benchmarks' inputs are those of the published figures, and their competitors are right."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import compare, competitors, heads, instructions
from benchmarks.counters import Counts
from benchmarks.paths import PATHS, candidates
from postprocess import reference


@pytest.mark.shared
def test_heads_are_those_of_the_published_figures_bit_for_bit(shared, tmp_path):
    tool = shared / "tools" / "make_heads.py"
    subprocess.run([sys.executable, str(tool), str(tmp_path), "R", "S1"], check=True)
    for case in ("R", "S1"):
        ours = {f"{case}_{name}": array for name, array in heads.tensors(case).items()}
        theirs = {path.name for path in tmp_path.glob(f"{case}_*")}
        assert theirs <= set(ours)
        for name in theirs:
            expected = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
            assert hashlib.sha256(ours[name].tobytes()).hexdigest() == expected, name


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_npud_and_the_recipe_find_the_same_boxes(path):
    decoder = path.decoder("R")
    if decoder is None:
        pytest.skip("npud does not decode this yet")
    found = decoder(path.tensors("R"))
    boxes, _, class_ids = competitors.recipe(path, "R")(path.tensors("R"))
    assert len(found) > 50
    same, of = compare.agreement((found.boxes, found.class_ids), (boxes, class_ids)).split("/")
    assert int(same) >= 0.9 * int(of)  # int8 ties may fall differently


def test_every_nms_keeps_the_same_boxes():
    boxes, scores, class_ids = candidates("R")
    expected = set(reference.nms(boxes, scores, class_ids, 0.45).tolist())
    assert len(expected) == 61
    prepared = (competitors.onnxruntime_nms, competitors.powerboxes_nms)
    for make in prepared:
        nms = make(boxes, scores, class_ids)
        assert nms is None or set(np.asarray(nms()).tolist()) == expected, make
    for nms in (competitors.nms_boxes_batched, competitors.nms_boxes_per_class):
        assert set(nms(boxes, scores, class_ids).tolist()) == expected, nms


ACCEPTED = {"compiler": "gcc 12", "kernels": "avx2", "calls": {"R one": 1000, "R two": 2000}}


@pytest.mark.parametrize(
    ("compiler", "calls", "failures", "said"),
    [
        ("gcc 12", {"R one": 1030, "R two": 1000}, 0, "-50.0%"),
        ("gcc 12", {"R one": 1031, "R two": 2000}, 1, ""),
        ("gcc 12", {"R one": 1000}, 1, ""),
        ("gcc 13", {"R one": 1500, "R two": 2000}, 0, "+50.0%"),
        ("gcc 12", {"R one": 1000, "R two": 2000, "R new": 5}, 0, "not accepted yet"),
    ],
)
def test_the_gate_on_instructions(capsys, compiler, calls, failures, said):
    found = instructions.compare("aarch64", Counts(compiler, "avx2", calls), ACCEPTED)
    assert len(found) == failures
    assert all("FAILED aarch64 R" in line for line in found)
    assert said in capsys.readouterr().out


def test_accepted_counts_are_written_as_they_are_read():
    table = instructions.as_table(Counts("gcc (Debian 12.2)", "neon", {"S NMS alone, 8 boxes": 7}))
    text = instructions.as_toml("x86-64", table)
    assert instructions.tomllib.loads(text) == {"x86-64": table}
