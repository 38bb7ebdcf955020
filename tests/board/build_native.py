"""Compile the C extension in a copy of the tree, with setup.py's own sources and flags."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.board.machine import Board
from tests.board.requirements import PYTHON, BoardError, run

ROOT = Path(__file__).resolve().parents[2]
GCC = "aarch64-linux-gnu-gcc"
SUFFIX = f".cpython-{PYTHON.replace('.', '')}-aarch64-linux-gnu.so"
COPIED = ("npud", "postprocess", "runtime", "tests", "native", "benchmarks", "docs")
COPIED += ("pyproject.toml", "setup.py")
IGNORED = shutil.ignore_patterns("__pycache__", "*.so", "*.onnx", ".hypothesis")


def copy_tree(target: Path) -> None:
    """Copy what the tests need; the working tree itself holds the host's build."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=IGNORED)
        else:
            shutil.copy(source, target / name)


def build_extension(tree: Path, board: Board | None = None) -> Path:
    """Compile postprocess/_native in the copy `tree`, for the board or this machine.

    setup.py does it, so that every flag stands in one place; only the compiler, its headers and
    the name of the result are given, so that nothing depends on how the host's Python was built.
    """
    environment = dict(os.environ) | {"CC": "gcc", "CFLAGS": "-fPIC", "LDSHARED": "gcc -shared"}
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    if board:
        include = board.root / "usr/include"
        suffix = SUFFIX
        environment |= {
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
        raise BoardError(f"the extension does not compile\n{done.stdout}{done.stderr}")
    shutil.rmtree(tree / "build", ignore_errors=True)
    return built


def compiler_version(compiler: str = GCC) -> str:
    """First line of what a compiler says of itself."""
    return run([compiler, "--version"]).splitlines()[0]
