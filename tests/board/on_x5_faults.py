"""Run on the emulated X5: each fault of x5_faults.py, and what becomes of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.backends import open_backend
from runtime.backends.base import BackendOptions
from runtime.backends.hobot import import_binding
from tests.board.conftest import Inject, Use, picture
from tests.board.x5_faults import FAULTS, OK, Fault


def outcome(work: Callable[[], str]) -> str:
    """What `work` returns or raises in a process of its own, or what that died of."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            text = work()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return text if code == 0 else f"the process dies of {signal.Signals(-code).name}"


def by_binding(path: Path) -> str:
    """Load, look at the properties and infer twice, as the vendor's examples do."""
    binding = import_binding()
    try:
        model = binding.load(str(path))[0]
        said = [tensor.properties.shape for tensor in (*model.inputs, *model.outputs)]
        first = [tensor.buffer for tensor in model.forward(picture())]
        outputs = model.forward(np.zeros_like(picture()))
    except SystemError as error:
        return f"SystemError, cause {error.__cause__!r}"
    second = [tensor.buffer for tensor in outputs]
    if not np.isfinite(first[0]).all():
        return "returns them"
    if all(map(np.array_equal, first, second)):
        return "returns the frame before"
    if not outputs[0].name:
        return "outputs without names"
    return OK if said[1] == (1, 40, 40, 4) else "takes it"


def by_npud(path: Path) -> str:
    backend = open_backend("hobot", path, BackendOptions())
    backend.infer([picture()])
    backend.infer([np.zeros_like(picture())])
    return OK


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.inject)
def test_a_fault_of_the_vendors_library(use: Use, inject: Inject, fault: Fault) -> None:
    path = use("street")
    inject(fault.inject)
    binding = outcome(lambda: by_binding(path))
    npud = outcome(lambda: by_npud(path)).replace(str(path), "m.bin")
    if fault.varies:
        assert npud.startswith((fault.npud, "the process dies of SIG"))
    else:
        assert (binding, npud) == (fault.binding, fault.npud)
