"""Messages between npud and a script: a line of JSON, then the bytes of the tensors it lists.

For Python 3.10 and NumPy 1.23: this runs at both ends.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np

Message = dict[str, Any]
Tensors = list[Any]
Handler = Callable[[Message, Tensors], "tuple[Message, Tensors]"]


def send(stream: BinaryIO, message: Message, tensors: Sequence[Any] = ()) -> None:
    """Write one message."""
    arrays = [np.ascontiguousarray(tensor) for tensor in tensors]
    heads = [{"shape": list(a.shape), "dtype": a.dtype.name} for a in arrays]
    stream.write(json.dumps({**message, "tensors": heads}).encode() + b"\n")
    for array in arrays:
        stream.write(array.tobytes())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Message, Tensors]:
    """Read one message; raises EOFError where the other end has gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message = json.loads(line)
    return message, [_tensor(stream, head) for head in message.pop("tensors")]


def _tensor(stream: BinaryIO, head: Message) -> Any:
    dtype = np.dtype(head["dtype"])
    size = int(np.prod(head["shape"], dtype=np.int64)) * dtype.itemsize
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return np.frombuffer(data, dtype).reshape(head["shape"])


def serve(handlers: dict[str, Handler]) -> None:
    """Answer requests {"do": name, …} until the other end closes the pipe.

    What the toolkit prints goes to stderr.  An exception becomes the answer {"error": text}.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    while True:
        try:
            message, tensors = receive(requests)
        except EOFError:
            return
        try:
            answer, results = handlers[message.pop("do")](message, tensors)
        except Exception as error:
            answer, results = {"error": str(error) or type(error).__name__}, []
        sys.stdout.flush()
        send(answers, answer, results)
