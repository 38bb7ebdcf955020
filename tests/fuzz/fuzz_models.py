"""Fuzz the model readers: whatever the bytes, a ModelInfo or a ModelError naming the file, in time.

    python tests/fuzz/fuzz_models.py rknn|bin|onnx [SECONDS] [CORPUS_FOLDER]

With atheris installed (pip install atheris) this is coverage-guided; without it, seeds are mutated
at random.  Ends with the number of executions; bytes that give any other exception, or take more
than a second of CPU time, are written to crash-* in the working directory and end it with a traceback.
"""

from __future__ import annotations

import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

try:
    import atheris
except ImportError:
    atheris = None
with (
    atheris.instrument_imports(include=["runtime.models"]) if atheris else contextlib.nullcontext()
):
    from runtime.models import bounds, hobot, literal, onnx, rknn

from npud.errors import ModelError
from tests.models import build

READERS = {"rknn": rknn._read, "bin": hobot._read, "onnx": onnx._read}
SEEDS = {
    "rknn": [build.rknn_heads(), build.rknn([build.rknn_tensor("o", [1, 9, 84], 2.5, -60)])],
    "bin": [build.bin_heads(), build.bin_heads(dequantize=False)],
    "onnx": [build.onnx_heads(), build.onnx_heads("{0: 'a', 1: 'b'}", "Conv", ["n", 3, "h", "w"])],
}
SLOW_S = 1.0
TOKENS = [b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\0" * 4, b"\x80" * 10, b"[" * 64, b"\\u",
          b"{'a': 1}", b"1e999", b"PACKED_HBM_MODEL", b"Identity", b"\x06\0\0\0\0\0\0\0"]  # fmt: skip


class Fuzzer:
    """One reader, and how often it was run."""

    def __init__(self, name: str) -> None:
        self.read = READERS[name]
        self.executions = self.accepted = self.refused = 0
        self.slowest_s = 0.0

    def once(self, data: bytes) -> None:
        """Read the bytes; raises what is no ModelError."""
        start_s = time.process_time()
        try:
            info = self.read(memoryview(data))
            self.accepted += 1
            assert info.inputs is not None
            for text in (*info.metadata.values(), info.versions.toolkit):
                literal.mapping(text[: bounds.MAX_LITERAL])
        except ModelError as error:
            self.refused += bool(str(error))
        taken_s = time.process_time() - start_s
        self.executions += 1
        self.slowest_s = max(self.slowest_s, taken_s)
        assert taken_s < SLOW_S, f"{taken_s:.1f} s"


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite, insert, delete or repeat at random places."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8, 32))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = rng.randrange(256)
        elif kind == 2:
            token = rng.choice(TOKENS)
            out[at : at + len(token)] = token
        elif kind == 3:
            del out[at : at + rng.choice((1, 2, 4, 64))]
        elif kind == 4:
            out[at:at] = out[at : at + rng.choice((4, 16, 256))]
        else:
            at &= ~3
            out[at : at + 4] = rng.getrandbits(rng.choice((4, 8, 16, 32))).to_bytes(4, "little")
    return bytes(out[: rng.randrange(len(out) + 1)] if out and rng.random() < 0.05 else out)


def run(name: str, seconds: float, corpus: Path | None) -> None:
    fuzzer = Fuzzer(name)
    if atheris is not None:
        folder = corpus or Path(tempfile.mkdtemp(prefix="npud-fuzz-"))
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS[name]):
            (folder / f"seed{number}").write_bytes(seed)
        arguments = ["-max_len=16384", "-len_control=0", "-timeout=10", "-rss_limit_mb=1024",
                     f"-max_total_time={seconds:.0f}", "-print_final_stats=1"]  # fmt: skip
        atheris.Setup([sys.argv[0], *arguments, str(folder)], fuzzer.once)
        atheris.Fuzz()  # ends the process, with its own figures
    guess(fuzzer, SEEDS[name], seconds)
    print(
        f"{name}: {fuzzer.executions} executions, {fuzzer.accepted} accepted, "
        f"slowest {fuzzer.slowest_s * 1e3:.0f} ms, {seconds:.0f} s, random mutation"
    )


def guess(fuzzer: Fuzzer, seeds: list[bytes], seconds: float) -> None:
    """Mutate seeds, and accepted mutants in turn, until the time is over."""
    rng = random.Random(0)
    pool = list(seeds)
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        data = mutate(rng.choice(pool), rng)
        accepted = fuzzer.accepted
        try:
            fuzzer.once(data)
        except BaseException:
            Path(f"crash-{fuzzer.executions}").write_bytes(data)
            raise
        if fuzzer.accepted > accepted and len(data) < 16384:
            pool[rng.randrange(len(pool)) if len(pool) > 500 else len(pool) :] = [data]


if __name__ == "__main__":
    run(
        sys.argv[1],
        float(sys.argv[2]) if len(sys.argv) > 2 else 60,
        Path(sys.argv[3]) if len(sys.argv) > 3 else None,
    )
