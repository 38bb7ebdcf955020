"""The example configurations are valid, and name only what exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime import config
from runtime.backends import BACKENDS
from runtime.validate import load_toml
from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "deploy").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_valid(path: Path) -> None:
    settings = config.parse(load_toml(path), path.name)
    assert settings.backend.name in ("auto", *BACKENDS)
    assert settings.camera


def test_there_is_one_for_each_board() -> None:
    assert {"npud.toml", "rdkx5.toml", "rk3588.toml"} <= {path.name for path in EXAMPLES}
