"""Wire format version 1: a message is two ZeroMQ parts, a topic and a msgpack map.

The topic is a kind and a camera, b"detections/front"; the map has the fields of the message
class (npud.messages).  Daemon and subscribers use the same `encode` and `decode`.
docs/wire-format.md is the description for programs that do not use this module.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import cast

import msgpack  # type: ignore[import-untyped]

from npud._fields import Fields
from npud.comparison import CompareMessage
from npud.errors import PublishError, SubscribeError
from npud.messages import DetectionsMessage, FrameMessage, Message, StatusMessage

VERSION = 1
MAX_BYTES = {
    "detections": 1 << 20,
    "status": 1 << 20,
    "frames": 64 << 20,
    "compare": 1 << 20,
}
MAX_LIST = 10_000  # detections in a message, labels of a model
_MAX_MAP = 1_000
_CAMERA = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TYPES: dict[str, type[Message]] = {
    cls.kind: cls for cls in (DetectionsMessage, StatusMessage, FrameMessage, CompareMessage)
}
KINDS = tuple(_TYPES)


def valid_camera_name(name: str) -> bool:
    """Tell whether a camera may have this name: 1 to 64 of the characters A-Z a-z 0-9 _ . -."""
    return _CAMERA.fullmatch(name) is not None


def new_session() -> int:
    """Draw a random 53-bit number for one run of the daemon: tells a restart from a gap."""
    return secrets.randbits(53)


def topic_of(kind: str, camera: str) -> bytes:
    """Return the topic, such as b"detections/front"; PublishError for a bad camera name."""
    if not valid_camera_name(camera):
        raise PublishError(
            f"camera {camera!r}: expected a name of 1 to 64 letters, digits, '_', '.' or '-'"
        )
    return f"{kind}/{camera}".encode()


def encode(message: Message) -> tuple[bytes, bytes]:
    """Return the two parts to send.  Boxes and scores go as the float32 that they are.

    Raises PublishError for a bad camera name, TypeError for a value that is no plain Python type.
    """
    values = {"v": VERSION, **message.to_wire()}
    single = message.kind == DetectionsMessage.kind
    payload = cast(bytes, msgpack.packb(values, use_single_float=single))
    return topic_of(message.kind, message.camera), payload


def decode(parts: Sequence[bytes]) -> Message:
    """Return the message in the received parts; SubscribeError for anything that is not one.

    Safe for any input: sizes are bounded, and a message is either whole and well-typed or refused.
    """
    if len(parts) != 2:
        raise SubscribeError(f"expected a message of 2 parts (topic, map), got {len(parts)}")
    topic, payload = parts[0][:80].decode("ascii", "backslashreplace"), parts[1]
    kind, _, camera = topic.partition("/")
    message_type = _TYPES.get(kind)
    if message_type is None or not valid_camera_name(camera):
        raise SubscribeError(
            f'expected a topic "<kind>/<camera>" (kinds: {", ".join(KINDS)}), got {topic!r}'
        )
    if len(payload) > MAX_BYTES[kind]:
        limit = MAX_BYTES[kind]
        raise SubscribeError(f"{topic}: expected at most {limit} bytes, got {len(payload)}")
    fields = Fields(topic, _unpack(topic, payload))
    if fields.integer("v") != VERSION:
        fields.fail("v", f"{VERSION}, the only wire format version this npud reads")
    if fields.text("camera") != camera:
        fields.fail("camera", f"{camera!r} as in the topic")
    return message_type.from_fields(camera, fields)


def _unpack(topic: str, payload: bytes) -> object:
    try:
        return cast(object, msgpack.unpackb(payload, max_array_len=MAX_LIST, max_map_len=_MAX_MAP))
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise SubscribeError(
            f"{topic}: expected a msgpack map, got {len(payload)} bytes that are none ({error})"
        ) from error
