"""A V4L2 device in user space: `fake.c`, preloaded into a Python process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import ROOT

BEGIN = """
import json, sys, time
from npud.errors import SourceError
from runtime.sources import open_source
from runtime.sources.base import SourceOptions
out = {}
"""


@pytest.fixture(scope="session")
def fake_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled driver; skips where there is no compiler or no kernel header."""
    library = tmp_path_factory.mktemp("fake") / "fake.so"
    source = ROOT / "tests/v4l2/fake.c"
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    build = ["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-O1", "-o", library, source, "-ldl"]
    if subprocess.run(
        ["gcc", "-E", "-"], input=b"#include <linux/videodev2.h>", capture_output=True
    ).returncode:
        pytest.skip("needs <linux/videodev2.h>")
    subprocess.run(build, check=True)
    return library


class Fake:
    """/dev/video0 as `describe` says, for processes started through `wrapper`."""

    def __init__(self, driver: Path, folder: Path) -> None:
        self.folder = folder
        self.wrapper = ("env", f"LD_PRELOAD={driver}", f"NPUD_FAKE_V4L2={folder}")

    def describe(self, *lines: str) -> None:
        (self.folder / "video0").write_text("\n".join(lines) + "\n")

    def run(self, code: str) -> dict[str, Any]:
        """Run Python code that fills `out`."""
        done = subprocess.run(
            [*self.wrapper, sys.executable, "-c", BEGIN + code + "\nprint(json.dumps(out))"],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def refusals(self, *options: str, url: str = "/dev/video0") -> list[str]:
        """What it says when it is opened so, for each of the options."""
        attempts = "".join(
            f"try: open_source({url!r}, SourceOptions({one}))\n"
            "except SourceError as e: said.append(str(e))\n"
            for one in options or ("",)
        )
        said: list[str] = self.run(f"said = out['said'] = []\n{attempts}")["said"]
        return said


@pytest.fixture
def fake(fake_driver: Path, tmp_path: Path) -> Fake:
    return Fake(fake_driver, tmp_path)


Pattern = Callable[..., NDArray[np.uint8]]


@pytest.fixture
def pattern() -> Pattern:
    """What the driver paints: pattern(rows, bytes of a row, plane, sequence)."""

    def paint(rows: int, columns: int, plane: int = 0, sequence: int = 0) -> NDArray[np.uint8]:
        r, c = np.mgrid[:rows, :columns]
        return ((7 * r + 3 * c + 50 * plane + 11 * sequence) % 256).astype(np.uint8)

    return paint
