"""Damaged and hostile files: a ModelInfo or a ModelError naming the file, in bounded time and memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npud.errors import ModelError
from runtime import models
from runtime.cli._inspect import as_text
from runtime.cli._inspect_json import as_json
from runtime.cli.inspect import read_subject
from runtime.models import findings
from runtime.models.finding import Subject
from tests.conftest import ROOT
from tests.models import build
from tests.models.build import message

WHOLE = {
    "m.rknn": [
        build.rknn_heads(),
        build.rknn([build.rknn_tensor("out", [1, 9, 84], 2.5, -128, (0, 640))], ["Concat"]),
    ],
    "m.bin": [build.bin_heads(), build.bin_heads(dequantize=False)],
    "m.onnx": [build.onnx_heads(), build.onnx_heads(image=["n", 3, "h", "w"], last="Conv")],
}
edits = st.lists(
    st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6
)


def read_or_refuse(path: Path) -> Subject | None:
    """The file with its head, or None where it is refused in the words that all readers use."""
    try:
        return read_subject(path, "rk3588")
    except ModelError as error:
        refusal = str(error)
    assert refusal.startswith(f"model {path}: expected ")
    return None


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=300, deadline=None)
@given(
    which=st.integers(0, 1),
    edits=edits,
    cut=st.none() | st.integers(0, 3000),
    gap=st.integers(0, 8),
)
def test_a_mutated_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    which: int,
    edits: list[tuple[int, bytes]],
    cut: int | None,
    gap: int,
) -> None:
    data = bytearray(WHOLE[name][which])
    for at, new in edits:
        at %= len(data)
        data[at : at + (len(new) if gap else 0)] = new
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data[:cut])
    subject = read_or_refuse(path)
    if subject is None:
        return
    found = findings.check(subject)  # and all that inspect makes of it
    assert as_text(path, subject, found)
    assert as_json(path, subject, found)


def chain(count: int) -> bytes:
    """An ONNX graph of `count` Identity nodes in a row, with 200 outputs at its end."""
    nodes = [(1, message((1, f"a{i}"), (2, f"a{i + 1}"), (4, "Identity"))) for i in range(count)]
    outs = [(12, build.onnx_value(f"a{count - i}", 1, [1])) for i in range(200)]
    return message((7, message(*nodes, *outs)))


def shared_vectors() -> bytes:
    """256 outputs that are one tensor with 65,536 scales."""
    row = [0.5] * 65536
    tensor = build.rknn_tensor("o", [1, 65536, 1, 1]) | {8: row, 9: row, 10: row, 11: [0] * 65536}
    image = build.rknn_tensor("images", [1, 3, 64, 64])
    return build.rknn([tensor], root={2: [{0: [image, tensor], 1: [], 2: [0], 3: [1] * 256}]})


def reshapes(count: int) -> bytes:
    """A graph whose operations all feed on their own output."""
    tensors = [build.rknn_tensor("images", [1, 3, 64, 64]), build.rknn_tensor("o", [1, 8, 8, 8])]
    nodes = [{1: "Reshape", 4: [1], 5: [1] * 16}] * count
    graph = {0: tensors, 1: nodes, 2: [0], 3: [1] * 256}
    return build.rknn(tensors[1:], root={2: [graph]})


def scales(count: int) -> bytes:
    one = build.bin_initializer("a_x_scale", [1.0] * 65536)
    return message((1, 1), (5, message(*[(3, one)] * count)))


HOSTILE = {
    "many fields.onnx": lambda: b"\x08\x01" * 2_000_000,
    "long chain.onnx": lambda: chain(40_000),
    "own tail.onnx": lambda: message(
        (7, message((1, message((1, "a"), (2, "a"), (4, "Identity"))), (12, build.onnx_value("a", 1, [1]))))
    ),
    "many names.onnx": lambda: message((7, message((1, message(*[(2, f"{i:040}") for i in range(190_000)]))))),
    "long texts.onnx": lambda: message(*[(14, message((1, str(i)), (2, "\U0001f600" + "a" * 10**6))) for i in range(20)], (7, b"")),
    "deep names.onnx": lambda: build.onnx_heads("[" * 200_000),
    "wide names.onnx": lambda: build.onnx_heads("[" + "{}," * 80_000 + "]"),
    "long number.onnx": lambda: build.onnx_heads("{'" + "1" * 200_000 + "': 1}"),
    "many dims.onnx": lambda: message((7, message((12, build.onnx_value("a", 1, [1] * 9))))),
    "huge dim.onnx": lambda: message((7, message((12, build.onnx_value("a", 1, [1 << 62]))))),
    "shared vectors.rknn": shared_vectors,
    "many nodes.rknn": lambda: reshapes(40_000),
    "cyclic nodes.rknn": lambda: reshapes(8_000),
    "deep config.rknn": lambda: build.rknn_heads(config="[" * 200_000),
    "wide config.rknn": lambda: build.rknn_heads(config="{'attrs': [" + "{}," * 80_000 + "]}"),
    "odd config.rknn": lambda: build.rknn_heads(config="{'attrs': {'images': {'mean': {}, 'std': [[]], 'rgb2bgr': []}}, 'quant_tab': 3}"),
    "odd layouts.rknn": lambda: build.rknn_heads(root={12: '{"images": {"dtype": [], "layout": {}}}', 13: "[]"}),
    "many scales.bin": lambda: scales(100),
    "many columns.bin": lambda: build.bin_heads({"INPUT_TYPE_RT": ";" * 10**6}),
    "odd columns.bin": lambda: build.bin_heads({"SCALE_VALUE": "1e400,nan,-0;", "MEAN_VALUE": "x;"}),
}  # fmt: skip


PEAKS = """
import os, resource, sys
from pathlib import Path
from tests.models.test_hostile import describe_or_refuse

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for path in sys.argv[1:]:
    if os.fork() == 0:
        before = peak()
        describe_or_refuse(Path(path))
        print(peak() - before, flush=True)
        os._exit(0)
    os.wait()
"""


def describe_or_refuse(path: Path) -> None:
    with contextlib.suppress(ModelError):
        models.describe(path)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_soon(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(HOSTILE[name]())
    start_s = time.process_time()
    describe_or_refuse(path)
    assert time.process_time() - start_s < 1


def test_hostile_files_take_little_memory(tmp_path: Path) -> None:
    """Beside the file itself, whose pages are mapped, none takes 100 MB: measured one by one."""
    for name, make in HOSTILE.items():
        (tmp_path / name).write_bytes(make())
    command = [sys.executable, "-c", PEAKS, *(str(tmp_path / name) for name in HOSTILE)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    peaks_kib = list(map(int, ended.stdout.split()))
    assert len(peaks_kib) == len(HOSTILE)
    for name, peak_kib in zip(HOSTILE, peaks_kib):
        assert peak_kib < 100_000 + (tmp_path / name).stat().st_size / 1024, name


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.rknn")
    with pytest.raises(ModelError, match="expected a model file"):
        models.describe(tmp_path / "pipe.rknn")


@pytest.mark.shared
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mutated_real_files(
    tmp_path_factory: pytest.TempPathFactory, shared: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["rknn/yolov8n_rk3588_i8.rknn", "bin/yolo26n_int8.bin"]))
    whole = bytearray((shared / "models" / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        at = data.draw(st.integers(0, 40_000) | st.integers(0, len(whole) - 8))
        new = data.draw(st.binary(min_size=1, max_size=8))
        whole[at : at + len(new)] = new
    path = tmp_path_factory.getbasetemp() / Path(name).name
    path.write_bytes(whole[: data.draw(st.just(len(whole)) | st.integers(0, len(whole)))])
    start_s = time.process_time()
    read_or_refuse(path)
    assert time.process_time() - start_s < 1
