"""The example configurations are valid, and name only what exists."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from runtime import config
from runtime.backends import BACKENDS
from runtime.cli import COMMANDS
from runtime.validate import load_toml
from tests.conftest import ROOT
from tools.make_man import page

EXAMPLES = sorted((ROOT / "deploy").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_valid(path: Path) -> None:
    settings = config.parse(load_toml(path), path.name)
    assert settings.backend.name in ("auto", *BACKENDS)
    assert settings.camera


def test_there_is_one_for_each_board() -> None:
    assert {"config.toml", "npud.toml", "rdkx5.toml", "rk3588.toml"} <= {
        path.name for path in EXAMPLES
    }


def unit(name: str, folder: Path) -> Path:
    """A unit whose program exists, here."""
    program = folder / "current/bin/npud"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = folder / name
    copy.write_text((ROOT / "deploy" / name).read_text().replace("/opt/npud", str(folder)))
    return copy


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("name", ["npud.service", "npud@.service"])
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, tmp_path: Path) -> None:
    path = unit(name, tmp_path)
    analyze = partial(subprocess.run, capture_output=True, text=True)
    verified = analyze(["systemd-analyze", "verify", "--man=no", str(path)])
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = analyze(["systemd-analyze", "security", "--offline=true", "--threshold=20", str(path)])
    if "offline" in rated.stderr:
        pytest.skip("systemd before 250 cannot rate a file")
    assert rated.returncode == 0, rated.stdout  # 2.0 or less


def test_the_template_differs_in_its_names_only() -> None:
    def settings(name: str) -> list[str]:
        lines = (ROOT / "deploy" / name).read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    single, template = settings("npud.service"), settings("npud@.service")
    different = [(a, b) for a, b in zip(single, template) if a != b]
    assert len(single) == len(template)
    assert {a.partition("=")[0] for a, _ in different} == {
        "Description",
        "ExecStart",
        "ExecReload",
        "RuntimeDirectory",
    }
    for a, b in different:
        assert b.replace("%i", "config") in (
            a,
            f"{a}-config",  # /run/npud-%i: the end of one service must not remove another's folder
            f"{a}, config",
        )


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_the_scripts_are_clean() -> None:
    scripts = [*ROOT.glob("deploy/*.sh"), *ROOT.glob("tests/deploy/*.sh")]
    scripts += [ROOT / "deploy/debian" / name for name in ("postinst", "prerm", "postrm")]
    checked = subprocess.run(["shellcheck", *map(str, scripts)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_installer_refuses_what_it_does_not_know() -> None:
    refused = subprocess.run(
        [str(ROOT / "deploy/install.sh"), "--upgrade"], capture_output=True, text=True
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "npud: error: unknown option --upgrade; see --help\n"


def test_the_man_page_has_every_command_and_is_roff() -> None:
    text = page()
    for name in COMMANDS:
        assert f".SS npud {name}\n" in text
        assert f"Usage: npud {name}".replace("-", "\\-") in text
    if shutil.which("man"):
        shown = subprocess.run(
            ["man", "--warnings", "-l", "-"], input=text, capture_output=True, text=True
        )
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "--endpoint" in shown.stdout
