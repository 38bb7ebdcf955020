"""The configuration: every mistake is one line that names the key."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import npud
from npud.errors import ConfigError
from runtime import config
from runtime.models import manifest
from runtime.validate import load_toml
from tests.conftest import ROOT

MISTAKES = [
    ("[model]\nscore_threshold = 'high'", "model.score_threshold: expected float, got string"),
    ("[model]\nscore_threshold = 3.0", "model.score_threshold: expected float <= 1.0, got 3.0"),
    ("[model]\nscore_treshold = 0.3", "model.score_treshold: unknown key; did you mean score_threshold?"),
    ("[modle]\npath = 'x'", "modle: unknown table; did you mean model?"),
    ("[model]\nnms = 'soft'", "model.nms: expected one of 'auto', 'class', 'agnostic', 'none', got 'soft'"),
    ("[model.input]\npadvalue = 3", "model.input.padvalue: unknown key; did you mean pad_value?"),
    ("[model.input]\nstd = [1, 0, 1]", "model.input.std.1: expected float > 0.0, got 0"),
    ("model = 3", "model: expected a table, got integer"),
    ("camera = 3", "camera: expected a table, got integer"),
    ("[camera]\nfront = 3", "camera.front: expected table, got integer"),
    ("[camera.front]\nurl = 3", "camera.front.url: expected string, got integer"),
    ("[camera.front]", "camera.front.url: this key is required"),
    ("[camera.front]\nurl='x'\nsize=[1]", "camera.front.size: expected array of length 2, got 1"),
    ("[camera.'a b']\nurl='x'", "camera.a b: expected a name"),
    ("[publish]\njpeg_quality = 101", "publish.jpeg_quality: expected integer <= 100, got 101"),
    ("[backend]\ncontexts = true", "backend.contexts: expected integer or 'auto', got boolean"),
    ("[backend]\ncontexts = 'all'", "backend.contexts: expected an integer or 'auto', got 'all'"),
    ("[backend]\ncontexts = 0", "backend.contexts: expected integer >= 1"),
    ("[model", "expected TOML"),
    ("\x00", "expected TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        config.parse(load_toml(path), str(path))
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_file_is_the_defaults() -> None:
    settings = config.parse({})
    assert settings == config.Config()
    assert settings.publish.endpoint == npud.DEFAULT_ENDPOINT
    assert settings.model.score_threshold == 0.25


def test_values_arrive_where_they_belong() -> None:
    raw = {
        "model": {"path": "m.onnx", "score_threshold": 1, "input": {"color": "bgr"}},
        "camera": {"front": {"url": "/dev/video0", "size": [640, 480], "fps": 30}},
    }
    settings = config.parse(raw)
    assert settings.model.score_threshold == 1.0
    assert settings.model.input.color == "bgr"
    assert settings.camera["front"].size == (640, 480)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="expected at most 1048576 bytes"):
        load_toml(path)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("a = " + "[" * 5000)
    with pytest.raises(ConfigError):
        load_toml(path)


def test_a_manifest_names_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("labels = ['a', 3]")
    with pytest.raises(ConfigError, match=re.escape(f"{path}: labels")):
        manifest.read(path)


def test_the_config_overrides_the_manifest_key_by_key() -> None:
    below = manifest.Input(color="bgr", pad_value=0)
    assert manifest.Input(pad_value=127).over(below) == manifest.Input(color="bgr", pad_value=127)


def test_every_key_is_documented_and_the_page_is_current() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "runtime.config"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = [line for line in printed.splitlines() if line.startswith("| `")]
    assert len(rows) >= 20
    assert all(line.split("|")[3].strip() for line in rows), "a key without a description"
    assert (ROOT / "docs/config.md").read_text() == printed, "run: make docs"


def test_the_example_config_is_valid() -> None:
    path = ROOT / "deploy" / "npud.toml"
    settings = config.parse(load_toml(path), str(path))
    assert settings.camera
