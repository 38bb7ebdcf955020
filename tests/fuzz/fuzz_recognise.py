"""Fuzz recognise(): whatever the outputs' shapes, a HeadPlan or a ModelError, and quickly.

    python -m tests.fuzz.fuzz_recognise [SECONDS]

A plan that is found is decoded, natively, on tensors of random bytes.  With atheris installed it is
coverage-guided, without it random.  A find is written to out/crash-* and ends it with a traceback.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import numpy as np

try:
    import atheris
except ImportError:
    atheris = None
with atheris.instrument_imports(include=["postprocess"]) if atheris else contextlib.nullcontext():
    from postprocess.decoder import make_decoder
    from postprocess.detect_head import Hints, recognise

from npud.errors import ConfigError, ModelError
from postprocess.options import Options
from postprocess.plan import HEADS
from postprocess.tensor import Quantization, TensorSpec

SLOW_S = 1.0
SIZES = ((64, 64), (64, 32), (32, 96), (640, 640), (416, 416), (33, 64), (8, 8), (0, 0))
CHANNELS = (1, 3, 4, 5, 6, 7, 8, 12, 15, 16, 17, 20, 24, 64, 68, 80, 84, 85, 255)
DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "float64", "bool")
SMALL = 1 << 16  # elements of all outputs that are decoded


class Bytes:
    """Reads choices from bytes; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data, self._next = data, 0

    def take(self, limit: int) -> int:
        """A number below limit (at most 256)."""
        self._next += 1
        return self._data[self._next - 1] % limit if self._next <= len(self._data) else 0

    def of(self, choices: tuple) -> object:
        """One of the choices."""
        return choices[self.take(len(choices))]


def shape_of(read: Bytes, size: tuple[int, int]) -> tuple[int, ...]:
    """A shape as it could be, or any."""
    stride = 4 << read.take(5)
    rows, columns = size[0] // stride, size[1] // stride
    channels = int(read.of(CHANNELS))
    cells = sum((size[0] // s) * (size[1] // s) for s in (8, 16, 32))
    shapes = (
        (1, channels, rows, columns),
        (1, rows, columns, channels),
        (channels, rows, columns),
        (1, channels, cells),
        (1, cells, channels),
        (1, 3 * cells, channels),
        (1, -(-channels // 16), rows, columns, 16),
        (1, channels, 6),
        (channels, 7),
        tuple(read.take(256) - 3 for _ in range(read.take(6))),
        (1, channels, -1, columns),
        (1, 2**40, 2**40),
    )
    return shapes[read.take(len(shapes))]


def hints_of(read: Bytes) -> Hints:
    """Hints, each mostly absent."""
    return Hints(
        head=read.of((None, None, None, *HEADS)),
        activation=read.of((None, "logits", "probabilities", "logits")),
        num_classes=read.of((None, None, None, 1, 2, 3, 80, 10**9)),
        layout=read.of((None, None, "nchw", "nhwc")),
        strides=read.of((None, None, None, (8,), (8, 16), (), (3,))),
        order=read.of((None, None, "box,cls", "cls,box")),
        objectness=read.of((None, None, True, False)),
    )


def one_input(data: bytes) -> None:
    """Recognise a head in made-up outputs, and decode a frame of it."""
    read = Bytes(data)
    size = read.of(SIZES)
    hints = hints_of(read)
    specs = []
    for i in range(read.take(13)):
        dtype = np.dtype(str(read.of(DTYPES if read.take(4) == 0 else DTYPES[:1])))
        quantization = Quantization.per_tensor(0.1, 3) if dtype.kind in "iu" else None
        layout = read.of(("", "", "", "nchw", "nhwc", "nc1hwc2"))
        specs.append(TensorSpec(f"o{i}", shape_of(read, size), dtype, layout, quantization))
    start = time.monotonic()
    try:
        plan = recognise(specs, size, hints)
        str(plan)
        elements = [np.prod([float(n) for n in spec.shape]) for spec in specs]
        if sum(elements) <= SMALL:
            decoder = make_decoder(plan, specs, Options(), "native")
            raw = np.resize(np.frombuffer(data or b"\0", np.uint8), SMALL * 8)
            tensors = [raw[: int(n) * s.dtype.itemsize] for n, s in zip(elements, specs)]
            decoder([t.view(s.dtype).reshape(s.shape).copy() for t, s in zip(tensors, specs)])
    except (ModelError, ConfigError):
        pass
    assert time.monotonic() - start < SLOW_S, "slow"


def main() -> None:
    """Run for the given seconds."""
    Path("out").mkdir(exist_ok=True)
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    if atheris:
        options = [f"-max_total_time={seconds}", "-max_len=256", "-artifact_prefix=out/"]
        atheris.Setup([sys.argv[0], *options], one_input)
        atheris.Fuzz()
        return
    done, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = os.urandom(1 + os.urandom(1)[0])
        try:
            one_input(data)
        except BaseException:
            Path("out/crash-recognise").write_bytes(data)
            raise
        done += 1
    print(f"{done} executions, no finding")


if __name__ == "__main__":
    main()
