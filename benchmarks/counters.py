"""Instructions of every call of the native entry points, exact and repeatable.

x86-64: valgrind's callgrind.  aarch64: qemu-user with a plugin of ours, on the emulated board.
Counted is what happens between entering and leaving a function, with everything it calls.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import counted
from tests.board.build_native import ROOT, build_extension, compiler_version, copy_tree
from tests.board.machine import DEFAULT_CPU, get_board
from tests.board.requirements import BoardError, require_tools, run

CODE_SIZE = 64
INPUT = "tensors.npz"
# A hash seed moves the heap, and with it what malloc costs: up to 1 % of NMS, nothing elsewhere.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
ARCHITECTURES = ("x86-64", "aarch64")


@dataclass(frozen=True)
class Program:
    """What is counted: calls of `entries`, functions of an extension, while a module runs.

    The module prints "path<TAB>case<TAB>kernels" for every `calls` calls, the second of which is
    the one that is looked at; `save` writes the file that the module is given.
    """

    module: str
    extension: str
    entries: tuple[str, ...]
    calls: int
    save: Callable[[str], None]


POSTPROCESS = Program(
    "benchmarks.counted",
    "postprocess/_native",
    ("decoder_decode", "native_nms"),
    counted.CALLS,
    counted.save,
)


@dataclass(frozen=True)
class Counts:
    """Instructions by "CASE path", and what they were counted on."""

    compiler: str
    kernels: str
    calls: dict[str, int]


def count(architecture: str, program: Program = POSTPROCESS) -> Counts:
    """Build the extensions and count.  Raises BoardError with what is missing."""
    with tempfile.TemporaryDirectory(prefix="npud-count-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        program.save(str(tree / INPUT))
        return (_callgrind if architecture == "x86-64" else _qemu)(tree, program)


def _callgrind(tree: Path, program: Program) -> Counts:
    require_tools({"valgrind": "valgrind", "gcc": "gcc"})
    build_extension(tree)
    command = ["valgrind", "--tool=callgrind", "--collect-atstart=no"]
    command += [f"--callgrind-out-file={tree / 'calls'}"]
    for entry in program.entries:
        command += [f"--toggle-collect={entry}", f"--dump-after={entry}"]
    environment = dict(os.environ) | ENVIRONMENT | {"PYTHONPATH": str(tree)}
    child = [*command, sys.executable, "-m", program.module, INPUT]
    done = subprocess.run(
        child, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    _check(done.returncode, done.stdout + done.stderr)
    dumps = sorted(tree.glob("calls.[0-9]*"), key=lambda path: int(path.suffix[1:]))
    calls = [_total(path) for path in dumps]
    return _assign(program, compiler_version("gcc"), done.stdout, calls)


def _total(dump: Path) -> int:
    found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def _qemu(tree: Path, program: Program) -> Counts:
    board = get_board()
    build_extension(tree, board)
    extension = next(tree.glob(f"{program.extension}*.so"))
    plugin = tree / "count_calls.so"
    source = ROOT / "tests/board/count_calls.c"
    run(["gcc", "-O2", "-fPIC", "-shared", "-o", str(plugin), str(source)])
    log = tree / "counts"
    process = board.popen(
        ["-m", program.module, INPUT],
        tree,
        DEFAULT_CPU,
        f"{plugin},out={log},{_plugin_arguments(extension, program.entries)}",
        ENVIRONMENT,
    )
    output, _ = process.communicate()
    _check(process.returncode, output)
    calls = [int(line.split()[1]) for line in log.read_text().splitlines()]
    return _assign(program, compiler_version(), output, calls)


def _plugin_arguments(extension: Path, entries: tuple[str, ...]) -> str:
    """Where the code of the object lies, and how each entry point begins."""
    data = extension.read_bytes()
    table, size, number = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    for i in range(number):
        kind, flags, offset, low, _, length = struct.unpack_from("<IIQQQQ", data, table + i * size)
        if kind == 1 and flags & 1:  # a loaded segment that may be executed
            break
    else:
        raise BoardError(f"no code in {extension.name}")
    names = run(["aarch64-linux-gnu-nm", str(extension)])
    arguments = [f"text={low:x}:{low + length:x}"]
    for entry in entries:
        found = re.search(rf"^([0-9a-f]+) [tT] {entry}$", names, re.MULTILINE)
        if not found:
            raise BoardError(f"no function {entry} in {extension.name}: Program.entries")
        start = int(found[1], 16) - low + offset
        arguments.append(f"entry={entry}:{found[1]}:{data[start : start + CODE_SIZE].hex()}")
    return ",".join(arguments)


def _check(code: int, output: str) -> None:
    if code:
        tail = "\n".join(output.splitlines()[-15:])
        raise BoardError(f"counting failed ({code}):\n{tail}")


def _assign(program: Program, compiler: str, output: str, calls: list[int]) -> Counts:
    """Give each path the second of its calls."""
    paths = [line.split("\t") for line in output.splitlines() if line.count("\t") == 2]
    if len(calls) != len(paths) * program.calls or not paths:
        raise BoardError(
            f"{len(calls)} calls of {', '.join(program.entries)} were counted, expected "
            f"{len(paths) * program.calls}: have the entry points of the extension other names?"
        )
    by_path = {}
    for i, (name, case, _) in enumerate(paths):
        by_path[f"{case} {name}"] = calls[i * program.calls + 1]
    kernels = ", ".join(sorted({kernels for _, _, kernels in paths} - {""}))
    return Counts(compiler, kernels, by_path)
