"""What is read from .rknn, .bin and .onnx files that the tests write themselves."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npud.errors import ModelError
from runtime import models
from runtime.cli.inspect import read_subject
from runtime.models import findings
from runtime.models.info import ModelInfo
from tests.models import build


def describe(tmp_path: Path, name: str, data: bytes) -> ModelInfo:
    path = tmp_path / name
    path.write_bytes(data)
    return models.describe(path)


def test_rknn_says_what_was_written(tmp_path: Path) -> None:
    info = describe(tmp_path, "m.rknn", build.rknn_heads())
    assert (info.format, info.name, info.target) == ("rknn", "m", "rk3588")
    assert (info.versions.format, info.versions.toolkit) == ("6", "2.3.2")
    assert info.versions.compiler == "2.3.2 (0123456@2025-01-01T00:00:00)"
    assert info.calibration == "asym, per layer"
    assert info.input_size == (64, 64)
    (image,) = info.inputs
    assert (image.shape, image.layout, image.dtype) == ((1, 64, 64, 3), "nhwc", np.int8)
    pixels = info.pixels["images"]
    assert (pixels.color, pixels.mean, pixels.std) == ("rgb", (0, 0, 0), (255, 255, 255))
    box = info.outputs[0]
    assert (box.name, box.shape, box.layout) == ("box_8", (1, 64, 8, 8), "nchw")
    assert box.quantization is not None
    assert (float(box.quantization.scale), int(box.quantization.zero_point)) == (0.125, -60)
    assert info.grids["box_8"].range == (-8, 24)
    assert [info.origins[s.name].op for s in info.outputs[:2]] == ["Conv", "Sigmoid"]
    assert "ConvSigmoid" in info.origins["cls_8"].evidence


def test_rknn_with_a_scale_per_channel(tmp_path: Path) -> None:
    tensor = build.rknn_tensor("o", [1, 4, 8, 8], [0.1, 0.2, 0.3, 0.4], [-1, 0, 1, 2])
    (spec,) = describe(tmp_path, "m.rknn", build.rknn([tensor])).outputs
    assert spec.quantization is not None
    np.testing.assert_allclose(spec.quantization.scale, [0.1, 0.2, 0.3, 0.4], rtol=1e-7)
    assert spec.quantization.zero_point.tolist() == [-1, 0, 1, 2]


def test_rknn_without_quantization_is_a_float_model(tmp_path: Path) -> None:
    image = build.rknn_tensor("images", [1, 3, 64, 64], dtype=10)
    tensor = build.rknn_tensor("o", [1, 4, 8, 8], dtype=10)
    info = describe(tmp_path, "m.rknn", build.rknn([tensor], image=image))
    assert info.outputs[0].dtype == np.float16
    assert info.outputs[0].quantization is None
    assert (info.grids, info.calibration) == ({}, "")


def test_an_output_behind_a_reshape_has_the_origin_above_it(tmp_path: Path) -> None:
    tensors = [build.rknn_tensor(n, [1, 5, 8, 8], 1 / 255, -128) for n in ("inner", "out")]
    image = build.rknn_tensor("images", [1, 3, 64, 64])
    nodes = [{1: "ConvSigmoid", 4: [0], 5: [1]}, {1: "Reshape", 4: [1], 5: [2]}]
    graph = {0: [image, *tensors], 1: nodes, 2: [0], 3: [2]}
    info = describe(tmp_path, "m.rknn", build.rknn(tensors, root={2: [graph]}))
    assert info.origins["out"].op == "Sigmoid"


def test_rknn_operations_of_another_kind_are_no_reason_to_refuse(tmp_path: Path) -> None:
    tensors = [build.rknn_tensor("images", [1, 3, 64, 64]), build.rknn_tensor("o", [1, 9, 84])]
    graph = {0: tensors, 1: [{1: 7, 4: "?", 5: 123456789}], 2: [0], 3: [1]}
    info = describe(tmp_path, "m.rknn", build.rknn(tensors[1:], root={2: [graph]}))
    assert info.origins == {}
    assert info.outputs[0].name == "o"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "got format 1, an old toolkit's; convert"),
        ({"version": 0x1004}, "got format 0x1004, RV1103 and RV1106's, which npud does not run"),
        ({"version": 7}, "got format 7, unknown"),
        ({"root": {0: 5}}, "the flatbuffer says format 5"),
        ({"root": {2: []}}, "expected one graph, got 0"),
        ({"root": {2: [{0: [], 1: [], 2: [0], 3: [0]}]}}, "expected an index below 0, got 0"),
        ({"root": {2: [{0: [], 1: [], 2: [], 3: []}]}}, "expected inputs and outputs, got none"),
    ],
)
def test_other_rknn_files_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "m.rknn"
    path.write_bytes(build.rknn_heads(**change))
    with pytest.raises(ModelError) as raised:
        models.describe(path)
    assert str(raised.value).startswith(f"model {path}: expected an .rknn file of format 6: ")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"scale": -0.5, "zero": 0}, "expected a positive scale of o, got -0.5"),
        ({"scale": float("nan"), "zero": 0}, "expected a positive scale of o, got nan"),
        ({"scale": [0.1, 0.2], "zero": [0]}, "2 scales but 1 zero points of o"),
        ({"scale": [0.1, 0.2], "zero": [0, 0]}, "2 scales do not fit o [1, 4, 8, 8]"),
        ({"dtype": 99}, "expected a known type of o, got number 99"),
    ],
)
def test_impossible_tensors_are_refused(
    tmp_path: Path, tensor: dict[str, Any], message: str
) -> None:
    output = build.rknn_tensor("o", [1, 4, 8, 8], **tensor)
    data = build.rknn([output], root={13: "{}"})
    with pytest.raises(ModelError) as raised:
        describe(tmp_path, "m.rknn", data)
    assert message in str(raised.value)


def test_bin_says_what_was_written(tmp_path: Path) -> None:
    info = describe(tmp_path, "m.bin", build.bin_heads())
    assert (info.format, info.name, info.target) == ("bin", "m", "bayes-e")
    made = info.versions
    assert (made.toolkit, made.compiler, made.runtime) == ("1.24.3", "3.49.15", "3.15.55.0")
    assert info.calibration == "default"
    assert info.input_size == (64, 64)
    pixels = info.pixels["images"]
    assert (pixels.feed, pixels.color, pixels.mean) == ("nv12", "rgb", ())
    assert pixels.std == (255, 255, 255)
    spec = info.outputs[0]
    assert (spec.name, spec.shape, spec.layout) == ("cls_8", (1, 8, 8, 5), "nhwc")
    assert spec.dtype == np.float32
    assert spec.quantization is None  # the file dequantizes: doing it twice would be wrong
    grid = info.grids["cls_8"]
    assert grid.dtype == np.int32
    np.testing.assert_array_equal(grid.quantization.scale, np.full(5, 0.001, np.float32))
    assert info.origins["cls_8"].op == "Conv"
    assert info.metadata["MARCH"] == "bayes-e"


def test_bin_without_dequantize_has_integer_outputs_with_their_scales(tmp_path: Path) -> None:
    info = describe(tmp_path, "m.bin", build.bin_heads(dequantize=False))
    spec = info.outputs[1]
    assert spec.dtype == np.int32
    assert spec.quantization is not None
    assert spec.quantization.scale.shape == (4,)


def test_bin_lists_in_metadata_belong_to_the_inputs_in_order(tmp_path: Path) -> None:
    entries = {"MEAN_VALUE": "103.94 116.78 123.68;", "SCALE_VALUE": "0.017,0.018,0.019;"}
    pixels = describe(tmp_path, "m.bin", build.bin_heads(entries)).pixels["images"]
    assert pixels.mean == (103.94, 116.78, 123.68)
    assert pixels.std == pytest.approx((1 / 0.017, 1 / 0.018, 1 / 0.019))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"7767517\n128 300", "got a file that begins with b'7767517"),
        (build.message((1, 1)), "expected one graph, got 0"),
        (build.message((1, 1), (5, build.message((2, "g")))), "PACKED_HBM_MODEL, got none"),
        (build.bin_heads(network=build.message((8, "PACKED_HBM_MODEL"), (5, b"#B2E" * 99))),
         "in PACKED_HBM_MODEL, got b'#B2E#B2E"),
        (build.bin_heads(network=build.message((8, "PACKED_HBM_MODEL"))), "got b''"),
        (build.bin_file([]), "expected inputs and outputs, got none"),
    ],
)  # fmt: skip
def test_other_bin_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ModelError) as raised:
        describe(tmp_path, "m.bin", data)
    assert message in str(raised.value)


def test_onnx_says_what_was_written(tmp_path: Path) -> None:
    info = describe(tmp_path, "m.onnx", build.onnx_heads(image=[1, 3, "h", 96]))
    assert (info.format, info.name) == ("onnx", "g")
    made = info.versions
    assert (made.toolkit, made.opset, made.format) == ("pytorch 2.4", "17", "8")
    (image,) = info.inputs  # "w" is an input too, but one with a value in the file
    assert (image.name, image.shape, image.layout) == ("images", (1, 3, 0, 96), "nchw")
    assert [str(s) for s in info.outputs[:2]] == [
        "box_8 [1, 4, 8, 8] float32",
        "cls_8 [1, 5, 8, 8] float32",
    ]
    assert info.labels == tuple("abcde")
    assert info.origins["cls_8"].op == "Sigmoid"


def test_onnx_outputs_that_are_joined_say_so(tmp_path: Path) -> None:
    nodes = [
        build.message((1, "images"), (2, "boxes"), (4, "Mul")),
        build.message((1, "images"), (2, "scores"), (4, "Sigmoid")),
        build.message((1, "boxes"), (1, "scores"), (2, "joined"), (4, "Concat")),
        build.message((1, "joined"), (2, "out"), (4, "Transpose")),
    ]
    values = [(11, build.onnx_value("images", 1, [1, 3, 64, 64]))]
    values.append((12, build.onnx_value("out", 1, [1, 9, 84])))
    graph = build.message(*((1, node) for node in nodes), *values)
    origin = describe(tmp_path, "m.onnx", build.message((1, 8), (7, graph))).origins["out"]
    assert (origin.op, origin.parts) == ("Sigmoid", 2)
    path = tmp_path / "m.onnx"
    for target, level in (("", "ok"), ("rk3588", "warning")):
        results = {f.name: f for f in findings.check(read_subject(path, target))}
        assert results["shared_tensor"].level == level


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    for name, data in (("m.rknn", build.rknn_heads()), ("m.bin", build.bin_heads())):
        refused = 0
        for size in range(0, len(data), 3):
            try:
                describe(tmp_path, name, data[:size])
            except ModelError as error:  # anything else fails the test
                refused += str(error).startswith(f"model {tmp_path / name}: expected ")
        # a .bin cut between two entries of its metadata cannot be told from a whole one
        assert refused >= (len(range(0, len(data), 3)) if name == "m.rknn" else 300)


def test_lengths_beyond_the_file_are_refused_at_once(tmp_path: Path) -> None:
    huge = 10 << 30
    header = struct.pack("<8sQQ40x", b"RKNN\0\0\0\0", 6, huge)
    for name, data in (
        ("m.rknn", header + bytes(100)),
        ("m.bin", b"\x08\x01\x10\x01\x2a" + build.varint(huge)),
        ("m.onnx", b"\x3a" + build.varint(huge)),
    ):
        with pytest.raises(ModelError, match="truncated"):
            describe(tmp_path, name, data)


def test_a_sparse_file_of_10_gb_is_not_read_through(tmp_path: Path) -> None:
    path = tmp_path / "m.rknn"
    with path.open("wb") as file:
        file.write(struct.pack("<8sQQ40x", b"RKNN\0\0\0\0", 6, 10 << 30))
        file.truncate((10 << 30) + 200)
    with pytest.raises(ModelError, match="expected JSON"):
        models.describe(path)
