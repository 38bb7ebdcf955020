"""How many contexts suit a backend on a board, and how many of them one process holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime import bundled, config, contexts
from runtime.detector import ModelFiles, read_model
from runtime.platform_info import Platform


@pytest.fixture(scope="module")
def model() -> ModelFiles:
    return read_model(config.Model(path=str(bundled.MODEL)))


@pytest.mark.parametrize(
    ("soc", "suffix", "settings", "expected"),
    [
        ("rk3588", ".rknn", {}, (3, 3)),
        ("rk3576", ".rknn", {"name": "rknnlite"}, (2, 2)),
        ("rk3568", ".rknn", {}, (1, 1)),
        ("rdkx5", ".bin", {}, (2, 1)),
        ("rk3588", ".onnx", {}, (1, 1)),
        ("rk3588", ".onnx", {"name": "my.module:Class"}, (1, 1)),
        ("rk3588", ".rknn", {"contexts": 2}, (2, 2)),
        ("rk3588", ".rknn", {"contexts": 4, "contexts_per_process": 2}, (4, 2)),
        ("rdkx5", ".bin", {"contexts": 3}, (3, 1)),
        ("rdkx5", ".bin", {"contexts": 1, "contexts_per_process": 8}, (1, 1)),
    ],
)
def test_auto_is_what_keeps_the_board_busy(
    model: ModelFiles,
    soc: str,
    suffix: str,
    settings: dict[str, object],
    expected: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contexts, "read_platform", lambda: Platform(soc))
    files = replace(model, path=Path(f"model{suffix}"))
    chip = config.parse({"backend": settings}).backend
    assert contexts.numbers(chip, files) == expected
