"""Environments: made once, from a recipe, with pip as it is; no toolkit is downloaded here."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from npud.errors import BackendUnavailable, ConfigError
from runtime.toolkits import drobotics, environment, rockchip
from runtime.toolkits.environment import MARKER, Toolkit, ensure, find, find_python, location

THIS = "{}.{}".format(*sys.version_info)


def wheel(folder: Path, name: str, requires: str = "") -> str:
    """A wheel with one empty module, made by hand."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return str(path)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolkit:
    """A toolkit of two wheels; the second asks for something that does not exist."""
    monkeypatch.setenv("NPUD_TOOLKITS", str(tmp_path / "toolkits"))
    monkeypatch.setattr(environment.platform, "machine", lambda: "x86_64")
    needs, bare = wheel(tmp_path, "helper"), wheel(tmp_path, "tinykit", "no-such-package-at-all==9")
    return Toolkit("tinykit", "1.0", (THIS,), (needs,), (bare,), "tinykit", 0.001, "rk1")


def test_an_environment_is_made_once_and_found_again(tiny: Toolkit, tmp_path: Path) -> None:
    said: list[str] = []
    folder = location(tiny)
    folder.mkdir(parents=True)
    (folder / MARKER).write_text("{}")  # as one that was interrupted leaves it
    (folder / "half").write_text("a file of the last attempt")
    with pytest.raises(
        BackendUnavailable,
        match=r"expected tinykit 1.0 in .*; remedy: npud convert --target rk1 --install",
    ):
        find(tiny)
    made: list[environment.Environment] = []
    threads = [
        threading.Thread(target=lambda: made.append(ensure(tiny, None, said.append)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2
    assert made[0] == made[1] == find(tiny)
    assert made[0].folder == folder == tmp_path / "toolkits" / "tinykit-1.0"
    assert not (folder / "half").exists()
    assert sum("trying to import" in text for text in said) == 1  # the other one waited
    code = "import helper, tinykit, sys; print(sys.prefix)"
    ran = subprocess.run([made[0].python, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(made[0].folder)

    newer = dataclasses.replace(tiny, bare=("tinykit-that-changed",))
    with pytest.raises(BackendUnavailable):  # its marker names another recipe
        find(newer)


def test_a_step_that_fails_is_told_with_its_log(tiny: Toolkit, tmp_path: Path) -> None:
    made, log = environment.Environment(tiny, tmp_path), tmp_path / "log"
    code = (
        "print('first'); print('ERROR: No matching distribution found for x'); raise SystemExit(3)"
    )
    with pytest.raises(BackendUnavailable) as caught:
        environment._run([sys.executable, "-c", code, "-"], made, log)
    text = str(caught.value)
    assert text.startswith("tinykit 1.0: -c ")
    assert text.endswith(
        f"failed with code 3: ERROR: No matching distribution found for x; log: {log}"
    )


def test_a_folder_of_the_users_is_not_touched(tiny: Toolkit) -> None:
    folder = location(tiny)
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="files that npud has not made"):
        ensure(tiny, None, lambda text: None)
    assert (folder / "thesis.tex").read_text() == "years of work"


def test_it_says_where_it_cannot_run(tiny: Toolkit, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendUnavailable, match=r"expected 1e\+09 GB of free space"):
        ensure(dataclasses.replace(tiny, disk_gb=1e9), None, lambda text: None)
    monkeypatch.setattr(environment.platform, "machine", lambda: "aarch64")
    with pytest.raises(BackendUnavailable, match=r"expected Linux on x86-64.*got linux on aarch64"):
        ensure(tiny, None, lambda text: None)


def test_the_python_is_looked_for() -> None:
    assert find_python((THIS,)) == sys.executable
    assert find_python(("2.7", THIS), sys.executable) == sys.executable
    with pytest.raises(ConfigError, match=rf"--python: expected Python 2.6, got {THIS} "):
        find_python(("2.6",), sys.executable)
    with pytest.raises(
        ConfigError, match=r"--python: expected Python 3.10, got none \(/no/python\)"
    ):
        find_python(("3.10",), "/no/python")
    with pytest.raises(ConfigError, match=r"expected Python 2.6 on PATH.*uv python install 2.6"):
        find_python(("2.6",))


def test_recipes_keep_to_what_the_toolkits_need() -> None:
    rknn, mapper = rockchip.toolkit(), drobotics.toolkit()
    assert rknn.bare == ("rknn-toolkit2==2.5.0",)
    assert rockchip.toolkit("2.3.2").bare == ("rknn-toolkit2==2.3.2",)
    for recipe in (rknn, mapper):
        assert "setuptools<81" in recipe.requirements  # both import pkg_resources
        assert not any(
            name.startswith("opencv-python=") for name in recipe.requirements
        )  # needs libGL
    assert mapper.pythons == ("3.10",)
    with pytest.raises(ConfigError, match=r"expected version 2.5.0 or 2.3.2, got 1.4"):
        rockchip.toolkit("1.4")
