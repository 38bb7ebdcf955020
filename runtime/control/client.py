"""Asks a running daemon."""

from __future__ import annotations

import math
import socket
import struct
from pathlib import Path
from typing import Any

import msgspec

from npud.errors import ControlError

MAX_ANSWER = 1 << 20


def ask(path: Path, command: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
    """The result of a command; raises ControlError where nobody answers, or with its refusal."""
    request = msgspec.json.encode({"command": command, "arguments": arguments}) + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            # only a blocking connect() waits while the daemon's backlog is full
            wait = struct.pack("ll", math.ceil(timeout_s), 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
            connection.connect(str(path))
            connection.settimeout(timeout_s)
            connection.sendall(request)
            line = _line(connection)
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(f"{path}: no npud listens there; is it running?") from None
    except PermissionError:
        raise ControlError(f"{path}: no permission; control.group may let you in") from None
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or 'no answer'}; is npud hanging?") from None
    try:
        answer = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise ControlError(f"{path}: expected an answer of npud, got {line[:40]!r}") from None
    if answer.get("ok") is not True:
        raise ControlError(f"{path}: {answer.get('error', 'refused')}")
    result = answer.get("result")
    return result if isinstance(result, dict) else {}


def _line(connection: socket.socket) -> bytes:
    received = bytearray()
    while b"\n" not in received and len(received) <= MAX_ANSWER:
        data = connection.recv(65536)
        if not data:
            break
        received += data
    return bytes(received)
