"""pytest plugin for slow machines: `-p tests.board.pytest_limits`.

NPUD_EXAMPLES caps the examples of every hypothesis test.  Tests of the NumPy reference alone are
left out: nothing of it is built for the board, and it takes most of the time.
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest

EXAMPLES = int(os.environ.get("NPUD_EXAMPLES", "20"))
_init = hypothesis.settings.__init__


def _capped(self: hypothesis.settings, *args: Any, **options: Any) -> None:
    if "max_examples" in options:
        options["max_examples"] = min(options["max_examples"], EXAMPLES)
    _init(self, *args, **options)


hypothesis.settings.__init__ = _capped  # type: ignore[method-assign]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what runs nothing but the reference."""
    slow = [item for item in items if _is_reference(item)]
    items[:] = [item for item in items if not _is_reference(item)]
    config.hook.pytest_deselected(items=slow)


def _is_reference(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("kernels") == "reference"
