"""Every vendor fault of Rockchip's table, injected into the stand-in library."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from npud.errors import BackendUnavailable, InferenceError, ModelError
from runtime.backends.base import Backend, BackendOptions
from tests.backends.conftest import GREY, ON_BOARD, Open
from tests.backends.faults import FAULTS, OK, Fault
from tests.conftest import ROOT

CORE = BackendOptions(core=1, version_check="warn")
PAGE = ROOT / "docs/faults.md"


def picture(backend: Backend, value: int) -> list[np.ndarray]:
    return [np.full(backend.inputs[0].shape, value, np.uint8)]


def provoke(fault: Fault, open_one: Open, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Load, infer, inject, infer another picture; what comes out at last."""

    def inject(stage: str) -> None:
        if fault.stage == stage:
            for variable, value in fault.env.items():
                monkeypatch.setenv(variable, value)

    inject("load")
    backend = open_one(CORE)
    try:
        backend.infer(picture(backend, 1))
        inject("infer")
        inject("duplicate")
        if fault.stage == "duplicate":
            backend.duplicate(2).close()
        return [np.array(result) for result in backend.infer(picture(backend, GREY))]
    finally:
        backend.close()


@pytest.mark.parametrize("name", ["librknnrt", "rknnlite"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_is_told_or_does_no_harm(
    opener: Callable[[str], Open], name: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_one = opener(name)
    reference = open_one(CORE)
    expected = [np.array(result) for result in reference.infer(picture(reference, GREY))]
    reference.close()
    wanted = getattr(fault, name)
    said = ""
    try:
        got = provoke(fault, open_one, monkeypatch)
    except (InferenceError, ModelError, BackendUnavailable) as error:
        said = f"{type(error).__name__}: {error}"
    _report(name, fault.name, said)
    if wanted == OK:
        assert said == ""
        assert all(map(np.array_equal, expected, got))
    else:
        assert re.search(wanted, said), said
        assert said.count("\n") == 0


def _report(backend: str, fault: str, said: str) -> None:
    """Append to the file named by NPUD_FAULT_REPORT: what docs/faults.md is written from."""
    if path := os.environ.get("NPUD_FAULT_REPORT"):
        with Path(path).open("a") as file:
            file.write(json.dumps([backend, fault, said]) + "\n")


@pytest.mark.skipif(ON_BOARD, reason="the page is not on the board")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_page_says_what_happens(fault: Fault) -> None:
    row = next(r for r in PAGE.read_text().splitlines() if r.startswith(f"| {fault.name} |"))
    binding, lite, lib = (cell.strip() for cell in row.split("|")[2:5])
    assert fault.binding == binding
    for wanted, cell in ((fault.rknnlite, lite), (fault.librknnrt, lib)):
        assert re.search(wanted, cell) if wanted else cell == "right results", cell
