"""Compile what runs on the board: the C extension, with setup.py's own sources and flags."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.board.machine import Board
from tests.board.requirements import PYTHON, run

ROOT = Path(__file__).resolve().parents[2]
GCC = "aarch64-linux-gnu-gcc"
SUFFIX = f".cpython-{PYTHON.replace('.', '')}-aarch64-linux-gnu.so"
COPIED = ("npud", "postprocess", "tests", "native", "benchmarks", "pyproject.toml", "setup.py")
IGNORED = shutil.ignore_patterns("__pycache__", "*.so", "*.onnx", ".hypothesis")


def copy_tree(target: Path) -> None:
    """Copy what the tests need; the working tree itself holds the host's build."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=IGNORED)
        else:
            shutil.copy(source, target / name)


def build_extension(board: Board, tree: Path, suffix: str = SUFFIX) -> Path:
    """Cross-compile postprocess/_native in the copy `tree`; return the file.

    setup.py does it, so that every flag stands in one place; only the compiler, its headers and
    the name of the result are the board's.
    """
    include = board.root / "usr/include"
    environment = dict(os.environ) | {
        "CC": GCC,
        "LDSHARED": f"{GCC} -shared",
        "CFLAGS": f"-fPIC -I{include}/python{PYTHON} -I{include}",
        "SETUPTOOLS_EXT_SUFFIX": suffix,
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
    }
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    built = tree / "postprocess" / f"_native{suffix}"
    if done.returncode or not built.exists():
        raise SystemExit(f"board: the extension does not compile\n{done.stdout}{done.stderr}")
    shutil.rmtree(tree / "build", ignore_errors=True)
    return built


def compiler_version() -> str:
    """First line of what the cross compiler says of itself."""
    return run([GCC, "--version"]).splitlines()[0]
