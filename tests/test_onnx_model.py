"""What is read from .onnx files, with the onnx package as oracle; and files that are none."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from npud.errors import BackendUnavailable, ConfigError, InferenceError, ModelError
from runtime import bundled, models
from runtime.backends import open_backend
from runtime.backends.base import BackendOptions
from runtime.models.protobuf import fields
from tests.conftest import ROOT

OPTIONS = BackendOptions()


def save(
    path: Path, ops: list[str], shape: list[int | str], metadata: dict[str, str] | None = None
) -> Path:
    """A model that passes its input through ops, each with one input and one output."""
    names = ["images", *(f"t{i}" for i in range(len(ops) - 1)), "out"]
    nodes = [helper.make_node(op, [a], [b]) for op, a, b in zip(ops, names, names[1:])]
    given_in = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph(nodes, "g", [given_in], [out]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def test_metadata_is_what_the_onnx_package_reads(tmp_path: Path) -> None:
    names = "{0: 'cat', 2: 'bird', 1: 'dog'}"
    path = save(tmp_path / "m.onnx", ["Relu"], [1, 3, 8, 8], {"names": names, "imgsz": "[8, 16]"})
    info = models.describe(path)
    assert dict(info.metadata) == {p.key: p.value for p in onnx.load(path).metadata_props}
    assert info.labels == ("cat", "dog", "bird")
    assert info.input_size == (8, 16)


@pytest.mark.parametrize("names", ["", "{0: __import__('os')}", "[" * 9999, "{'a': 1}", "3", "{"])
def test_odd_labels_are_none(tmp_path: Path, names: str) -> None:
    path = save(tmp_path / "m.onnx", ["Relu"], [1, 3, 8, 8], {"names": names, "imgsz": names})
    assert models.describe(path).labels == ()


@pytest.mark.parametrize(
    ("ops", "op"),
    [
        (["Relu", "Sigmoid"], "Sigmoid"),
        (["Sigmoid", "Transpose", "Identity"], "Sigmoid"),
        (["Sigmoid", "Relu"], "Relu"),
    ],
)
def test_the_origin_of_an_output_is_found_through_reshapes(
    tmp_path: Path, ops: list[str], op: str
) -> None:
    path = save(tmp_path / "m.onnx", ops, [1, 3, 8, 8])
    assert models.describe(path).origins["out"].op == op


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_a_model_error(data: bytes) -> None:
    with contextlib.suppress(ModelError):  # anything else fails the test
        list(fields(memoryview(data)))


def test_every_truncation_is_a_model_error(tmp_path: Path) -> None:
    whole = save(tmp_path / "m.onnx", ["Relu"], [1, 3, 8, 8], {"names": "{0: 'a'}"}).read_bytes()
    path = tmp_path / "cut.onnx"
    refused = 0
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        try:
            models.describe(path)
            open_backend("onnx", path, OPTIONS)
        except ModelError as error:  # anything else fails the test
            refused += str(error).startswith(f"model {path}: ")
    assert refused > 0.9 * len(whole)  # a cut between two fields leaves a model


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothere.onnx", "expected a model file, got no such file"),
        ("folder.onnx", "expected a model file, got a directory"),
        ("model.pt", r"expected one of .*\.onnx.*, got \.pt"),
        ("text.onnx", "expected an ONNX file"),
        ("empty.onnx", "expected an ONNX file, got an empty one"),
    ],
)
def test_what_is_no_model_says_what_it_is(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "model.pt").write_bytes(b"x")
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=message):
        models.describe(tmp_path / name)


def test_the_backend_runs_and_refuses_what_does_not_fit() -> None:
    backend = open_backend("auto", bundled.MODEL, OPTIONS)
    (spec,) = backend.inputs
    blank = np.zeros(spec.shape, spec.dtype)
    results = backend.infer([blank])
    assert [r.shape for r in results] == [o.shape for o in backend.outputs]
    for wrong in ([], [blank[:, :, :-1]], [blank.astype(np.float64)], [blank, blank]):
        with pytest.raises(InferenceError, match=r"expected|input"):
            backend.infer(wrong)
    backend.close()
    backend.close()
    with pytest.raises(InferenceError, match="closed"):
        backend.infer([blank])


def test_a_dynamic_size_needs_to_be_said(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", ["Relu"], ["n", 3, "h", "w"])
    with pytest.raises(ModelError, match=r"input\.size = \[height, width\]"):
        open_backend("onnx", path, OPTIONS)
    backend = open_backend("onnx", path, BackendOptions((32, 64)))
    assert backend.inputs[0].shape == (1, 3, 32, 64)
    assert backend.outputs[0].shape == (1, 3, 32, 64)


def test_an_input_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", ["Relu"], [1, 80])
    with pytest.raises(ModelError, match=r"expected 4 dimensions with 3 channels.*got \[1, 80\]"):
        open_backend("onnx", path, OPTIONS)


def test_unknown_backends_and_suffixes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown backend onx; did you mean onnx\?"):
        open_backend("onx", tmp_path / "m.onnx", OPTIONS)
    with pytest.raises(BackendUnavailable, match=r"no backend runs \.pt files; known: .*\.onnx"):
        open_backend("auto", tmp_path / "m.pt", OPTIONS)


def test_without_onnxruntime_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None; "
        "sys.argv[1:] = ['detect', 'bundled', 'x.jpg']; "
        "from runtime.cli import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("npud: error: backend onnx: expected onnxruntime")
    assert "pip install 'npud[sim]'" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_onnxruntime_keeps_to_itself_what_it_is_used_for(tmp_path: Path) -> None:
    """It leaves a device id and events under HOME when it sends them to Microsoft."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))}
    code = (
        "from runtime import bundled\nfrom runtime.backends import open_backend\n"
        "from runtime.backends.base import BackendOptions\n"
        "open_backend('onnx', bundled.MODEL, BackendOptions()).close()\n"
    )
    for module in (code, "import runtime.prepare.graph"):
        environment = {**kept, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run([sys.executable, "-c", module], cwd=ROOT, env=environment, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
