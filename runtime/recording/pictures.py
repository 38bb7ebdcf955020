"""Frames as the messages that MCAP viewers show: Foxglove's CompressedImage and RawImage.

Protocol buffers, with their own description (a FileDescriptorSet) as the channel's schema; numbers
and names: foxglove-sdk, schemas/proto/foxglove/{CompressedImage,RawImage}.proto, and
google/protobuf/descriptor.proto.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from npud.errors import NpudError, RecordError
from runtime.frame import Format, Frame, YuvMatrix, YuvRange
from runtime.image_decode import decode_image
from runtime.models.protobuf import BYTES, FIXED32, VARINT, fields

Frames = Literal["jpeg", "raw", "none"]
ENCODINGS: dict[Format, str] = {"bgr": "bgr8", "nv12": "nv12", "yuyv": "yuyv"}
INT64, INT32, STRING, MESSAGE, BINARY, FIXED = 3, 5, 9, 11, 12, 7  # FieldDescriptorProto.Type
Fields = tuple[tuple[str, int, int], ...]  # name, number, type
TIME: Fields = (("seconds", 1, INT64), ("nanos", 2, INT32))
NAMES: dict[Frames, str] = {"jpeg": "CompressedImage", "raw": "RawImage"}
SHAPES: dict[Frames, Fields] = {
    "jpeg": (("timestamp", 1, MESSAGE), ("frame_id", 4, STRING), ("data", 2, BINARY),
             ("format", 3, STRING)),
    "raw": (("timestamp", 1, MESSAGE), ("frame_id", 7, STRING), ("width", 2, FIXED),
            ("height", 3, FIXED), ("encoding", 4, STRING), ("step", 5, FIXED), ("data", 6, BINARY),
            ("yuv_range", 1001, STRING), ("yuv_matrix", 1002, STRING)),
}  # fmt: skip
# 1001 and 1002 are npud's own; without them a frame is as Frame has it by default


def schema(kind: Frames) -> tuple[str, bytes]:
    """(name, FileDescriptorSet) of the messages that hold frames of this kind."""
    name = NAMES[kind]
    stamp = _file("google/protobuf/timestamp.proto", "google.protobuf", "Timestamp", TIME)
    own = _file(f"foxglove/{name}.proto", "foxglove", name, SHAPES[kind])
    return f"foxglove.{name}", _bytes(1, stamp) + _bytes(1, own)


def encode(frame: Frame, kind: Frames, quality: int) -> bytes:
    """A frame as a message; raises RecordError where OpenCV cannot make a JPEG of it."""
    seconds, nanos = divmod(frame.captured_ns, 10**9)
    stamp = _bytes(1, _varint(1, seconds) + _varint(2, nanos))
    if kind == "raw":
        step = frame.pixels.strides[0]
        sizes = _fixed(2, frame.width_px) + _fixed(3, frame.height_px) + _fixed(5, step)
        text = _bytes(4, ENCODINGS[frame.format].encode()) + _bytes(7, frame.camera.encode())
        if frame.format != "bgr":
            text += _bytes(1001, frame.yuv_range.encode()) + _bytes(1002, frame.yuv_matrix.encode())
        return stamp + sizes + text + _bytes(6, frame.pixels.tobytes())
    ok, jpeg = cv2.imencode(".jpg", frame.bgr(), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RecordError(f"camera {frame.camera}: OpenCV cannot encode a JPEG")
    text = _bytes(3, b"jpeg") + _bytes(4, frame.camera.encode())
    return stamp + _bytes(2, np.asarray(jpeg).tobytes()) + text


def decode(data: bytes, kind: str) -> NDArray[np.uint8]:
    """The picture of a message as (H, W, 3) BGR; raises RecordError."""
    try:
        found = dict(fields(memoryview(data)))
        if kind == "foxglove.CompressedImage":
            return decode_image(np.frombuffer(_part(found, 2), np.uint8), "its JPEG")
        width, height = (int.from_bytes(_part(found, n), "little") for n in (2, 3))
        form = {name: form for form, name in ENCODINGS.items()}[bytes(_part(found, 4)).decode()]
        shape = {"bgr": (height, width, 3), "nv12": (height * 3 // 2, width)}
        pixels = np.frombuffer(_part(found, 6), np.uint8)
        return Frame(
            pixels.reshape(shape.get(form, (height, width, 2))),
            format=form,
            yuv_range=_word(found, 1001, YuvRange, "video"),
            yuv_matrix=_word(found, 1002, YuvMatrix, "bt601"),
        ).bgr()
    except (NpudError, ValueError, KeyError, cv2.error) as error:
        raise RecordError(f"expected a picture ({kind}), got: {error}") from None


def jpeg_of(data: bytes) -> bytes:
    """The JPEG in a CompressedImage; raises RecordError."""
    try:
        return bytes(_part(dict(fields(memoryview(data))), 2))
    except (NpudError, ValueError) as error:
        raise RecordError(f"expected a picture, got: {error}") from None


def _part(found: dict[int, int | memoryview], number: int) -> memoryview:
    value = found.get(number)
    if not isinstance(value, memoryview):
        raise ValueError(f"no field {number}")
    return value


def _word(found: dict[int, int | memoryview], number: int, kind: Any, default: str) -> Any:
    """One of the words of a Literal; the default where the field is missing."""
    word = bytes(_part(found, number)).decode() if number in found else default
    if word not in get_args(kind):
        raise ValueError(f"field {number}: expected one of {get_args(kind)}, got {word[:20]!r}")
    return word


def _file(path: str, package: str, name: str, shape: Fields) -> bytes:
    """A FileDescriptorProto with one message type."""
    body = _bytes(1, name.encode())
    for field, number, kind in shape:
        own = _bytes(1, field.encode()) + _varint(3, number) + _varint(4, 1) + _varint(5, kind)
        own += _bytes(6, b".google.protobuf.Timestamp") if kind == MESSAGE else b""
        body += _bytes(2, own)
    needs = _bytes(3, b"google/protobuf/timestamp.proto") if package == "foxglove" else b""
    syntax = _bytes(12, b"proto3")
    return _bytes(1, path.encode()) + _bytes(2, package.encode()) + needs + _bytes(4, body) + syntax


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _varint(number: int, value: int) -> bytes:
    return _number(number << 3 | VARINT) + _number(value)


def _fixed(number: int, value: int) -> bytes:
    return _number(number << 3 | FIXED32) + value.to_bytes(4, "little")


def _bytes(number: int, value: bytes) -> bytes:
    return _number(number << 3 | BYTES) + _number(len(value)) + value
