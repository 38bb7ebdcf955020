"""pytest plugin for slow machines: `-p tests.board.pytest_limits`.

NPUD_EXAMPLES caps the examples of every hypothesis test.  Of the tests in THINNED only one in so
many parameters runs.  Tests of the NumPy reference alone are left out: nothing of it is built for
the board, and it takes most of the time.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import hypothesis
import pytest

THINNED = {
    "test_sizes_around_vector_widths": 11,
    "test_long_lists": 11,
    "test_pairs_as_far_apart_as_they_may_be": 3,
    "test_every_type_of_every_head": 5,
}
NOT_HERE = ("test_allocation.py",)  # starts another Python, which an emulated one cannot
EXAMPLES = int(os.environ.get("NPUD_EXAMPLES", "20"))
_init = hypothesis.settings.__init__


def _capped(self: hypothesis.settings, *args: Any, **options: Any) -> None:
    if "max_examples" in options:
        options["max_examples"] = min(options["max_examples"], EXAMPLES)
    _init(self, *args, **options)


hypothesis.settings.__init__ = _capped  # type: ignore[method-assign]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what runs nothing but the reference, and most of what takes long."""
    seen: Counter[str] = Counter()
    kept, left_out = [], []
    for item in items:
        name = item.name.split("[")[0]
        seen[name] += 1
        here = item.path.name not in NOT_HERE and not _is_reference(item)
        skipped = not here or seen[name] % THINNED.get(name, 1)
        (left_out if skipped else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def _is_reference(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("kernels") == "reference"
