"""What the tests on the emulated X5 share.  NPUD_X5 is the folder that x5.py prepared."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.backends import open_backend
from runtime.backends.base import Backend, BackendOptions
from runtime.frame import Frame
from runtime.preprocess import InputSpec, Preprocessor

FOLDER = Path(os.environ.get("NPUD_X5", "/nonexistent"))
CASES = json.loads((FOLDER / "cases.json").read_text()) if FOLDER.is_dir() else {}
Use = Callable[[str], Path]
Inject = Callable[[str], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Let the stand-in serve a case's tensors; returns its model file."""

    def choose(name: str) -> Path:
        if name not in CASES:
            pytest.skip("needs the shared folder of real models")
        monkeypatch.setenv("STUB_DNN_TENSORS", CASES[name][1])
        return Path(CASES[name][0])

    return choose


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Inject:
    return lambda fault: monkeypatch.setenv("STUB_DNN_FAULT", fault)


@pytest.fixture
def street(use: Use) -> Iterator[Backend]:
    backend = open_backend("hobot", use("street"), BackendOptions())
    yield backend
    backend.close()


def picture(case: str = "street") -> np.ndarray:
    size = 320 if case in ("street", "integers") else 640
    spec = InputSpec((size, size), color="nv12", pad_value=127)
    return Preprocessor(spec)(Frame(cv2.imread(CASES[case][2])))[0]
