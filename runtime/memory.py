"""Memory back to the system: glibc keeps what was freed, in an arena for each few threads."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return free pages of all arenas (malloc_trim(3)); does nothing where the libc has no such."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
