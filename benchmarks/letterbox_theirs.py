"""Instructions of the recipes on x86-64: `python -m benchmarks.letterbox --theirs`.

A recipe is called by a function in C, so that callgrind can switch counting on and off with it; the
few thousand instructions of the interpreter in between count as theirs.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2

from benchmarks.letterbox import PATHS
from benchmarks.letterbox_recipes import RECIPES
from tests.board.requirements import require_tools

CALLBACK = ctypes.CFUNCTYPE(None)
CALLER = """
#include <valgrind/callgrind.h>
void counted_call(void (*recipe)(void))
{
    CALLGRIND_TOGGLE_COLLECT;
    recipe();
    CALLGRIND_TOGGLE_COLLECT;
    CALLGRIND_DUMP_STATS;
}
"""


def show_theirs() -> int:
    """Count every recipe and print the table; the exit code."""
    require_tools({"valgrind": "valgrind", "gcc": "gcc"})
    with tempfile.TemporaryDirectory(prefix="npud-count-") as folder:
        library = f"{folder}/caller.so"
        compiler = ["gcc", "-O1", "-fPIC", "-shared", "-xc", "-", "-o", library]
        subprocess.run(compiler, input=CALLER, text=True, check=True)
        command = ["valgrind", "--tool=callgrind", "--collect-atstart=no"]
        command += [f"--callgrind-out-file={folder}/calls", sys.executable, "-m", __name__, library]
        environment = dict(os.environ) | {"OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        names = done.stdout.splitlines()
        dumps = sorted(Path(folder).glob("calls.[0-9]*"), key=lambda path: int(path.suffix[1:]))
        if done.returncode or len(dumps) != 2 * len(names):
            print(done.stderr[-2000:], file=sys.stderr)
            return 1
        print(f"recipes, OpenCV {cv2.__version__}: Ki per call")
        for name, dump in zip(names, dumps[1::2]):
            found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
            print(f"{name:<28}{int(found[1]) / 1000 if found else 0:>9.1f}")
    return 0


def main() -> None:
    """Run every recipe twice."""
    cv2.setNumThreads(1)
    caller = ctypes.CDLL(sys.argv[1])
    for path in PATHS:
        recipe = RECIPES.get(path.what)
        if recipe is None:
            continue
        pixels, size = path.preprocess()[1].pixels, path.size

        for _ in range(2):
            caller.counted_call(CALLBACK(lambda: run(recipe, pixels, size)))  # noqa: B023 - called at once
        print(path.name)


def run(recipe: Any, pixels: Any, size: int) -> None:
    """Run a recipe, as a callback that returns nothing."""
    recipe(pixels, size)


if __name__ == "__main__":
    main()
