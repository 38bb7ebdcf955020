"""Run tests on the emulated board: python -m tests.board.

--part NAME…     what to run (default: all): postprocess, the kernels; hobot and rknn, the vendors'
                 bindings for the RDK X5 and the RK3588 over stand-ins for their libraries, and the
                 daemon with them
--cpu NAME…      CPUs to emulate; default: cortex-a76 (RK3588's large cores) and cortex-a53 (RDK X3,
                 small cores: no dot product, no half precision), side by side; there only the
                 tests of heads, traps and variants of the kernels
--run ARGUMENTS  run the board's Python with these arguments instead, in a copy of the tree
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.board.build_native import build_extension, compiler_version, copy_tree
from tests.board.machine import Board, get_board
from tests.board.requirements import BoardError, NoEmulatorError, in_ci
from tests.board.rk3588 import run_rk3588
from tests.board.x5 import run_x5

TESTS = "tests/postprocess"


@dataclass(frozen=True)
class Selection:
    """What runs on a CPU: test files, and how many examples of each property."""

    files: tuple[str, ...]
    examples: int


EVERYTHING = Selection((TESTS, "tests/pixels"), 20)
KERNELS = Selection(tuple(f"{TESTS}/test_{name}.py" for name in ("variants", "heads", "traps")), 8)
SELECTIONS = {"cortex-a76": EVERYTHING, "cortex-a53": KERNELS}
PYTEST = (
    "-m",
    "pytest",
    "-o",
    "timeout=300",
    "-p",
    "no:cacheprovider",
    "-p",
    "tests.board.pytest_limits",
)
BOARDS = {"hobot": run_x5, "rknn": run_rk3588}
PARTS = ("postprocess", *BOARDS)


@dataclass
class Result:
    """What pytest printed on one CPU."""

    cpu: str
    output: str = ""
    code: int = -1

    def line(self) -> str:
        """One line: the CPU, what ran, pytest's closing line."""
        closing = self.output.strip().splitlines()[-1:] or ["no output"]
        files = " ".join(self.selection.files)
        return f"{self.cpu}: {files}, ≤ {self.selection.examples} examples: {closing[0]}"

    @property
    def selection(self) -> Selection:
        """What runs on this CPU."""
        return SELECTIONS.get(self.cpu, KERNELS)


def main() -> int:
    """Build what is missing, run, say what ran; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.board", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--cpu", nargs="+", default=list(SELECTIONS), metavar="NAME")
    parser.add_argument("--part", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--run", nargs=argparse.REMAINDER, metavar="ARGUMENT")
    options = parser.parse_args()
    try:
        board = get_board()
        with tempfile.TemporaryDirectory(prefix="npud-board-") as folder:
            tree = Path(folder)
            copy_tree(tree)
            build_extension(tree, board)
            if options.run is None:
                print(f"board: aarch64 Debian CPython under qemu; {compiler_version()}")
                failed = "postprocess" in options.part and run_tests(board, tree, options.cpu)
                for part in (name for name in BOARDS if name in options.part):
                    failed |= run_board(part, board, tree)
                return int(failed)
            command = board.command(options.run, options.cpu[0])
            return subprocess.call(command, cwd=tree, env=board.environment(tree))
    except NoEmulatorError as error:
        print(f"board: {'FAILED' if in_ci() else 'skipped'}: {error}")
        return int(in_ci())
    except BoardError as error:
        print(f"board: {error}", file=sys.stderr)
        return 1


def run_tests(board: Board, tree: Path, cpus: list[str]) -> int:
    """Run the tests on all CPUs side by side; 0 if all passed."""
    results = [Result(cpu) for cpu in cpus]
    threads = [threading.Thread(target=_test, args=(board, tree, result)) for result in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if result.code:
            print(f"\n---- {result.cpu}\n{result.output}")
    for result in results:
        print(result.line())
    return int(any(result.code for result in results))


def run_board(part: str, board: Board, tree: Path) -> int:
    """Run everything on the emulated RDK X5 or RK3588; 0 if all is as it should be."""
    results = BOARDS[part](board, tree)
    for result in results:
        if not result.ok:
            print(f"\n---- {result.name}\n{result.output}")
    for result in results:
        print(f"{result.name}: {'' if result.ok else 'FAILED: '}{result.text}", flush=True)
    return int(not all(result.ok for result in results))


def _test(board: Board, tree: Path, result: Result) -> None:
    process = board.popen(
        [*PYTEST, *result.selection.files],
        tree,
        result.cpu,
        extra={"NPUD_EXAMPLES": str(result.selection.examples), "NPUD_SHARED": "none"},
    )
    result.output, _ = process.communicate()
    result.code = process.returncode


if __name__ == "__main__":
    sys.exit(main())
