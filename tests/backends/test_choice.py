"""Which backend `auto` takes, and what it says where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from npud.errors import BackendUnavailable
from runtime.backends import BACKENDS, open_backend
from runtime.backends.base import BackendOptions
from tests.backends.conftest import ON_BOARD, Counts, rknn_model

OPTIONS = BackendOptions()


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make rknnlite another machine's."""
    monkeypatch.delitem(sys.modules, "runtime.backends.rknnlite", raising=False)
    monkeypatch.setitem(sys.modules, "rknnlite", None)
    monkeypatch.setitem(sys.modules, "rknnlite.api", None)


def test_auto_prefers_the_library_to_the_binding(
    stub: Callable[[], Counts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rknn_model(tmp_path)
    monkeypatch.setenv("STUB_TENSORS", str(tmp_path / "m.tensors"))
    backend = open_backend("auto", path, OPTIONS)
    assert type(backend).__name__ == "LibrknnrtBackend"
    backend.close()


@pytest.mark.skipif(not ON_BOARD, reason="rknn-toolkit-lite2 is for aarch64")
def test_auto_takes_the_binding_without_the_library(
    stub: Callable[[], Counts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rknn_model(tmp_path)
    monkeypatch.setenv("STUB_TENSORS", str(tmp_path / "m.tensors"))
    monkeypatch.setenv("NPUD_LIBRKNNRT", "/nowhere/librknnrt.so")
    backend = open_backend("auto", path, OPTIONS)
    assert type(backend).__name__ == "RknnliteBackend"
    backend.close()


def test_without_either_both_say_what_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch)
    monkeypatch.setenv("NPUD_LIBRKNNRT", "/nowhere/librknnrt.so")
    with pytest.raises(BackendUnavailable) as refused:
        open_backend("auto", rknn_model(tmp_path), OPTIONS)
    text = str(refused.value)
    assert "librknnrt.so, looked in NPUD_LIBRKNNRT=/nowhere/librknnrt.so: no such file" in text
    assert "; or backend rknnlite: expected rknn-toolkit-lite2, got: " in text
    assert text.count("remedy: ") == 2


def test_a_library_that_is_none_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "librknnrt.so"
    fake.write_bytes(b"\x7fELF, but no more")
    monkeypatch.setenv("NPUD_LIBRKNNRT", str(fake))
    with pytest.raises(BackendUnavailable, match=r"file too short|invalid ELF header"):
        BACKENDS["librknnrt"].load().probe()


def test_a_library_without_the_calls_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPUD_LIBRKNNRT", "libc.so.6")
    with pytest.raises(BackendUnavailable, match=r"libc\.so\.6 lacks calls"):
        BACKENDS["librknnrt"].load().probe()
