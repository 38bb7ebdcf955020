"""What was freed goes back to the system when it is asked for."""

from __future__ import annotations

import ctypes
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from runtime.memory import give_back

MIB = 1 << 20


def anonymous_mib() -> float:
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc's")
def test_memory_that_a_thread_has_freed_is_given_back() -> None:
    """As a camera that a reload has ended: its thread's arena is held by what lies on top of it."""
    kept: list[object] = []

    def work() -> None:
        blocks = [np.ones(60_000, np.uint8) for _ in range(1000)]  # below the mmap threshold
        kept.append(blocks[-1])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before = anonymous_mib()
    give_back()
    assert before - anonymous_mib() > 40
    assert kept
