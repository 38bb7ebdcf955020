"""Names to classes, imported only when asked for: `"module:Class"` tables."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(target: str, what: str) -> Any:
    """Import "module:attribute"; what says in the error what was looked for."""
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except AttributeError:
        raise LookupError(f"{what}: {target} does not exist") from None
