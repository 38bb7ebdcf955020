"""Pre-processing beside the recipes people use, and a gate on its instructions.

    python -m benchmarks.letterbox             times, in turns, on one thread, with ratios
    python -m benchmarks.letterbox --count     instructions per call on x86-64 and aarch64
    python -m benchmarks.letterbox --check     the same; exit code 1 where one has grown by 3 %
    python -m benchmarks.letterbox --accept    make today's counts the accepted ones
    python -m benchmarks.letterbox --theirs    instructions of the recipes, on x86-64

Memory that the recipes free is kept for them, which takes up to 1 ms of page faults per frame off
their time; npud allocates none.  OpenCV runs on one thread.  "goal" is the ratio that is promised.
The accepted counts stand in letterbox.toml; see benchmarks/instructions.py for what the gate does.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.letterbox_recipes import RECIPES
from benchmarks.timing import interleaved
from runtime.frame import Frame
from runtime.preprocess import InputSpec, Preprocessor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_suffix(".toml")
CALLS = 3
BYTES: dict[str, Any] = {"layout": "nhwc", "dtype": np.dtype(np.uint8), "std": (1, 1, 1)}
SPECS: dict[str, dict[str, Any]] = {
    "RGB": BYTES,
    "float32": {},
    "int8": {"layout": "nhwc", "dtype": np.dtype(np.int8), "quantization": (1 / 255, -128)},
    "NV12": {"color": "nv12", "pad_value": 127, "yuv_range": "video"},
    "NV12 full": {"color": "nv12", "pad_value": 127},
}
ROW = "{:<28}{:>9}{:>9}{:>8}{:>6}  {}"


@dataclass(frozen=True)
class Route:
    """From frames of (height, width) into a square input."""

    what: str
    frame: tuple[int, int] = (1080, 1920)
    size: int = 640
    goal: float | None = None

    @property
    def name(self) -> str:
        """As it is printed, e.g. "1080p BGR → RGB 640"."""
        return f"{self.frame[0]}p {self.what} {self.size}"

    def preprocess(self) -> tuple[Preprocessor, Frame]:
        """What npud does, and a frame of noise for it."""
        source, _, target = self.what.partition(" → ")
        height, width = self.frame
        kind: Any = source.lower()
        shapes = {"bgr": (height, width, 3), "nv12": (height * 3 // 2, width)}
        shape = shapes.get(kind, (height, width, 2))
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        return Preprocessor(InputSpec((self.size,) * 2, **SPECS[target])), Frame(
            pixels, format=kind
        )


PATHS = (
    Route("BGR → RGB", goal=2.5),
    Route("BGR → NV12", goal=3.5),
    Route("NV12 → NV12", goal=1.6),
    Route("BGR → float32"),
    Route("NV12 → RGB"),
    Route("YUYV → RGB"),
    Route("BGR → int8"),
    Route("NV12 → NV12 full"),
    Route("BGR → RGB", (720, 1280)),
    Route("BGR → NV12", (720, 1280)),
    Route("NV12 → NV12", (720, 1280)),
    Route("BGR → RGB", size=416),
    Route("BGR → RGB", (480, 640), 960),
)


def main() -> int:
    """Print what is asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.letterbox", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--arch", nargs="+", default=["x86-64", "aarch64"])
    for action in ("--count", "--check", "--accept", "--theirs"):
        parser.add_argument(action, action="store_true")
    options = parser.parse_args()
    if options.theirs:
        from benchmarks.letterbox_theirs import show_theirs

        return show_theirs()
    if options.count or options.check or options.accept:
        return count_all(options.arch, check=options.check, accept=options.accept)
    show_times(7 if options.quick else 25)
    return 0


def show_times(rounds: int) -> None:
    """Print the table of times."""
    cv2.setNumThreads(1)
    keep_memory()
    print(f"pre-processing, {platform.machine()}, one thread, OpenCV {cv2.__version__}, µs")
    print(ROW.format("", "npud", "recipe", "×", "goal", ""))
    for path in PATHS:
        preprocess, frame = path.preprocess()
        contenders: dict[str, Any] = {"npud": lambda: preprocess(frame)}  # noqa: B023 - used here
        if recipe := RECIPES.get(path.what):
            pixels, size = frame.pixels, path.size
            contenders["recipe"] = lambda: recipe(pixels, size)  # noqa: B023
        times = {name: t.median * 1e6 for name, t in interleaved(contenders, rounds).items()}
        ours, theirs = times["npud"], times.get("recipe")
        ratio = f"{theirs / ours:.1f}" if theirs else ""
        shown = f"{theirs:.0f}" if theirs else ""
        print(ROW.format(path.name, f"{ours:.0f}", shown, ratio, path.goal or "", "").rstrip())


def keep_memory() -> None:
    """Let malloc (glibc's) never give memory back to the system."""
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    libc = ctypes.CDLL(None)
    libc.mallopt(trim_threshold, 1 << 30)
    libc.mallopt(mmap_threshold, 1 << 30)


def count_all(architectures: list[str], *, check: bool, accept: bool) -> int:
    """Print instruction counts beside the accepted ones; the exit code."""
    from benchmarks import counters, instructions
    from tests.board.requirements import BoardError, NoEmulatorError, in_ci

    module = "benchmarks.letterbox_counted"
    program = counters.Program(module, "runtime/_pixels", ("plan_run",), CALLS, lambda _: None)
    accepted = tomllib.loads(FILE.read_text()) if FILE.exists() else {}
    failures = []
    for architecture in architectures:
        try:
            found = counters.count(architecture, program)
        except BoardError as error:
            print(f"{architecture}: {error}", file=sys.stderr)
            if in_ci() or not isinstance(error, NoEmulatorError):
                return 1
            continue
        before = accepted.get(architecture, {})
        print(f"\n{architecture}, {found.kernels} kernels, {found.compiler}: Ki per call, accepted")
        for name, calls in found.calls.items():
            old = before.get("calls", {}).get(name)
            print(f"{name:<28}{calls / 1000:>9.1f}{f'{old / 1000:.1f}' if old else '–':>9}")
        if check:
            failures += instructions.compare(architecture, found, before)
        accepted[architecture] = instructions.as_table(found)
    if accept:
        header = "# Instructions per call that are accepted; written by "
        header += "`python -m benchmarks.letterbox --accept`.\n"
        FILE.write_text(header + "".join(map(instructions.as_toml, accepted, accepted.values())))
    for failure in failures:
        print(failure)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
