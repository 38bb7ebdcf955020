"""Small .rknn, .bin and .onnx files, written byte by byte: the readers' opposite, none of their code."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

Field = tuple[int, "int | bytes | str"]


def message(*fields: Field) -> bytes:
    """A protocol-buffer message: ints as varints, bytes and texts length-delimited."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return bytes(out)


def varint(value: int) -> bytes:
    out = b""
    value &= (1 << 64) - 1
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


class Byte(int):
    """An 8-bit scalar in a flatbuffer; a plain int is a 32-bit one."""


class Flat:
    """A flatbuffer; a table is {slot: value}, its values scalars, texts, lists of numbers or tables."""

    def __init__(self, root: Mapping[int, Any], identifier: bytes = b"RKNN") -> None:
        self.data = bytearray(4) + identifier
        self._put("<I", 0, self._table(root))

    def _put(self, form: str, at: int, value: float) -> None:
        struct.pack_into(form, self.data, at, value)

    def _grow(self, size: int) -> int:
        self.data += bytes(-len(self.data) % 4)
        at = len(self.data)
        self.data += bytes(size)
        return at

    def _table(self, slots: Mapping[int, Any]) -> int:
        count = max(slots, default=-1) + 1
        vtable = self._grow(4 + 2 * count)
        at = self._grow(4 + 4 * len(slots))
        self._put("<H", vtable, 4 + 2 * count)
        self._put("<H", vtable + 2, 4 + 4 * len(slots))
        self._put("<i", at, at - vtable)
        for number, (slot, value) in enumerate(slots.items()):
            field = at + 4 + 4 * number
            self._put("<H", vtable + 4 + 2 * slot, field - at)
            if isinstance(value, int):
                self._put("<B" if isinstance(value, Byte) else "<i", field, value)
            else:
                self._put("<I", field, self._vector(value) - field)
        return at

    def _vector(self, value: str | Sequence[Any]) -> int:
        if isinstance(value, str):
            data = value.encode()
            at = self._grow(4 + len(data) + 1)
            self._put("<I", at, len(data))
            self.data[at + 4 : at + 4 + len(data)] = data
            return at
        at = self._grow(4 + 4 * len(value))
        self._put("<I", at, len(value))
        for number, item in enumerate(value):
            field = at + 4 + 4 * number
            if isinstance(item, Mapping):
                self._put("<I", field, self._table(item) - field)
            else:
                self._put("<f" if isinstance(item, float) else "<i", field, item)
        return at


def rknn_tensor(
    name: str,
    shape: Sequence[int],
    scale: float | Sequence[float] = (),
    zero: int | Sequence[int] = (),
    span: tuple[float, float] | None = None,
    dtype: int = 3,
) -> dict[int, Any]:
    """A tensor of an .rknn graph; without scale as in a float model."""
    scales = [scale] if isinstance(scale, float) else list(scale)
    zeros = [zero] if isinstance(zero, int) else list(zero)
    low, high = ([], []) if span is None else ([float(span[0])], [float(span[1])])
    slots = {0: Byte(dtype), 1: Byte(64), 4: list(shape), 5: name, 8: low, 9: high}
    return slots | {6: "layer", 7: "int8", 10: scales, 11: zeros}


def rknn(
    outputs: Sequence[dict[int, Any]],
    ops: Sequence[str] = (),
    *,
    image: dict[int, Any] | None = None,
    target: str = "rk3588",
    toolkit: str = "2.3.2",
    config: str | None = None,
    version: int = 6,
    **slots: Any,
) -> bytes:
    """A file of format 6 with one input and these outputs, made by these operations."""
    image = image or rknn_tensor("images", [1, 3, 64, 64], 1 / 255, -128, (0, 1))
    tensors = [image, *outputs]
    indices = list(range(1, len(tensors)))
    nodes = [{1: op, 2: "node", 4: [0], 5: [index]} for op, index in zip(ops, indices)]
    attributes = {"images": {"mean": [0], "std": [255, 255, 255], "rgb2bgr": False}}
    quantized = {t[5]: {"qtype": "asym"} for t in tensors}
    root = {
        0: 6,
        1: "RKNPU v2",
        2: [{0: tensors, 1: nodes, 2: [0], 3: indices}],
        3: config or repr({"attrs": attributes, "quant_tab": quantized}),
        7: f"{toolkit}(compiler version: {toolkit} (0123456@2025-01-01T00:00:00))",
        8: target,
        9: "ONNX",
        12: json.dumps({image[5]: {"dtype": "int8", "layout": "NHWC"}}),
        13: json.dumps(
            {t[5]: {"dtype": "int8", "layout": "NCHW"} for t in outputs if len(t[4]) == 4}
        ),
    }
    body = bytes(Flat(root | slots.get("root", {})).data)
    trailer = json.dumps({"version": toolkit, "target_platform": [target], "name": "m"}).encode()
    header = struct.pack("<8sQQ40x", b"RKNN\0\0\0\0", version, len(body))
    return header + body + struct.pack("<Q", len(trailer)) + trailer


def rknn_heads(classes: int = 5, cells: int = 8, **changes: Any) -> bytes:
    """Three strides of boxes with DFL and class probabilities, int8, for an input of 64x64."""
    outputs = []
    for stride in (8, 16, 32):
        side = cells * 8 // stride
        outputs.append(rknn_tensor(f"box_{stride}", [1, 64, side, side], 0.125, -60, (-8, 24)))
        outputs.append(
            rknn_tensor(f"cls_{stride}", [1, classes, side, side], 1 / 255, -128, (0, 1))
        )
    return rknn(outputs, ["Conv", "ConvSigmoid"] * 3, **changes)


def value(name: str, kind: int, shape: Sequence[int]) -> bytes:
    """A ValueInfo of a .bin, its shape packed."""
    return message((1, name), (2, message((1, kind), (2, b"".join(map(varint, shape))))))


def bin_initializer(name: str, scales: Sequence[float]) -> bytes:
    kind = message((1, 1), (2, varint(len(scales))))
    return message((1, kind), (2, struct.pack(f"<{len(scales)}f", *scales)), (8, name))


def packed(runtime: str = "3.15.55.0", compiler: str = "3.49.15") -> bytes:
    head = b"#B2Ehbm#########" + struct.pack("<3I", 3, 15, 55)
    data = head + runtime.encode().ljust(32, b"\0") + compiler.encode().ljust(32, b"\0") + bytes(64)
    return message((1, message((1, 8))), (5, data), (8, "PACKED_HBM_MODEL"))


METADATA = {"MARCH": "bayes-e", "BUILDER_VERSION": "1.24.3", "HBDK_VERSION": "3.49.15",
            "INPUT_TYPE_RT": "nv12;", "INPUT_TYPE_TRAIN": "rgb;", "MEAN_VALUE": ";",
            "SCALE_VALUE": "0.003921568627451,;", "NORM_TYPE": "data_scale;",
            "CALI_TYPE": "default", "MODEL_PREFIX": "m"}  # fmt: skip


def bin_file(
    outputs: Sequence[tuple[str, Sequence[int]]],
    metadata: Mapping[str, str] | None = None,
    *,
    dequantize: bool = True,
    image: Sequence[int] = (1, 64, 64, 3),
    network: bytes | None = None,
) -> bytes:
    """A .bin with these outputs, int32 with a scale per channel below a Dequantize (or without it)."""
    graph: list[Field] = []
    for name, shape in outputs:
        inner = f"{name}/Conv_output_0_quantized"
        graph.append((3, bin_initializer(f"{name}/Conv_x_scale", [0.001] * shape[-1])))
        if dequantize:
            attribute = message((1, "output_data_format"), (2, 3), (5, "NHWC"))
            node = [(1, inner), (1, f"{name}/Conv_x_scale"), (2, name), (4, "Dequantize")]
            graph += [(1, message(*node, (5, attribute))), (6, value(inner, 6, shape))]
        graph.append((5, value(name, 1, shape) if dequantize else value(inner, 6, shape)))
    graph += [(2, "g"), (3, packed() if network is None else network)]
    graph += [(4, value("images", 3, image)), (7, varint(7)), (8, varint(2))]
    entries = METADATA | dict(metadata or {})
    pairs = [(1, message((1, key), (2, text))) for key, text in entries.items()]
    return message((1, 1), (2, 1), (5, message(*graph)), (6, message(*pairs)))


def bin_heads(metadata: Mapping[str, str] | None = None, **changes: Any) -> bytes:
    """Three strides of ltrb boxes and 5 class logits for an input of 64x64."""
    sides = {8: 8, 16: 4, 32: 2}
    outputs = []
    for stride, side in sides.items():
        outputs += [(f"cls_{stride}", [1, side, side, 5]), (f"box_{stride}", [1, side, side, 4])]
    return bin_file(outputs, metadata, **changes)


def onnx_value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    dims = [message((1, d) if isinstance(d, int) else (2, d)) for d in shape]
    tensor = message((1, kind), (2, message(*((1, dim) for dim in dims))))
    return message((1, name), (2, message((1, tensor))))


def onnx_heads(
    names: str = "['a', 'b', 'c', 'd', 'e']",
    last: str = "Sigmoid",
    image: Sequence[int | str] = (1, 3, 64, 64),
) -> bytes:
    """Three strides of ltrb boxes and 5 classes, ending in `last`."""
    graph: list[Field] = [(2, "g"), (11, onnx_value("images", 1, image))]
    for stride, side in {8: 8, 16: 4, 32: 2}.items():
        for name, channels, op in ((f"box_{stride}", 4, "Conv"), (f"cls_{stride}", 5, last)):
            graph.append((1, message((1, "images"), (1, "w"), (2, name), (4, op))))
            graph.append((12, onnx_value(name, 1, [1, channels, side, side])))
    graph += [(5, message((1, 1), (2, 1), (8, "w"))), (11, onnx_value("w", 1, [1]))]
    entries = {"names": names, "imgsz": "[64, 64]"}
    metadata = [(14, message((1, key), (2, text))) for key, text in entries.items()]
    opset = message((1, ""), (2, 17))
    return message((1, 8), (2, "pytorch"), (3, "2.4"), (7, message(*graph)), (8, opset), *metadata)
