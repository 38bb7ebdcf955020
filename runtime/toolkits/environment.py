"""A vendor's toolkit in a virtual environment of its own, made once, found again.

The project's own environment is never touched.  A file lock keeps two commands from building the
same environment at once; one that was interrupted is made anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from npud.errors import BackendUnavailable, ConfigError
from runtime.toolkits.noise import telling

TOOLKITS_ENV = "NPUD_TOOLKITS"
MARKER = "npud-toolkit.json"  # what was installed; "{}" until all is
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own, without CUDA
Say = Callable[[str], None]


@dataclass(frozen=True)
class Toolkit:
    """What is installed, and with which Python.

    pythons: versions that fit, best first; requirements: installed with what they need; bare:
    installed without, as their own lists ask for more than is used here; check: a module whose
    import shows that it works; disk_gb: space it takes; target: one that npud convert uses it for,
    with the options that ask for this version.
    """

    name: str
    version: str
    pythons: tuple[str, ...]
    requirements: tuple[str, ...]
    bare: tuple[str, ...]
    check: str
    disk_gb: float
    target: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def recipe(self) -> dict[str, object]:
        """What the marker holds; another one means that the environment is out of date."""
        return {
            "toolkit": str(self),
            "requirements": list(self.requirements),
            "bare": list(self.bare),
        }


@dataclass(frozen=True)
class Environment:
    """An installed toolkit."""

    toolkit: Toolkit
    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"


def location(toolkit: Toolkit) -> Path:
    """Where its environment is or will be: below NPUD_TOOLKITS, or in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(os.environ.get(TOOLKITS_ENV) or Path(cache, "npud", "toolkits"))
    return root.absolute() / f"{toolkit.name}-{toolkit.version}"


def find(toolkit: Toolkit) -> Environment:
    """An environment that is there already; raises BackendUnavailable with what to do."""
    environment = Environment(toolkit, location(toolkit))
    if _marked(environment) or _works(environment):
        return environment
    raise BackendUnavailable(
        f"expected {toolkit} in {environment.folder}, got none; "
        f"remedy: npud convert --target {toolkit.target} --install (about {toolkit.disk_gb:g} GB)"
    )


def ensure(toolkit: Toolkit, python: str | None, say: Say) -> Environment:
    """Find the environment, or make it; raises BackendUnavailable or ConfigError."""
    environment = Environment(toolkit, location(toolkit))
    if _marked(environment):
        return environment
    _check_machine(toolkit)
    with _locked(environment.folder, say):
        if _marked(environment) or _works(environment):
            return environment
        _make(environment, python, say)
    return environment


def clean_variables(environment: Environment) -> dict[str, str]:
    """The variables of this process without those that lead to another Python's packages."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    kept = {key: value for key, value in os.environ.items() if key not in ours}
    return kept | {"PATH": f"{environment.folder / 'bin'}{os.pathsep}{kept.get('PATH', '')}"}


def find_python(versions: tuple[str, ...], given: str | None = None) -> str:
    """An interpreter of one of these versions ("3.10"); raises ConfigError."""
    for candidate in [given] if given else _interpreters(versions):
        found = _version_of(candidate)
        if found in versions:
            return candidate
        if given:
            raise ConfigError(
                f"--python: expected Python {' or '.join(versions)}, got {found or 'none'} "
                f"({given})"
            )
    raise ConfigError(
        f"expected Python {' or '.join(versions)} on PATH, in pyenv or uv, got none; "
        f"remedy: uv python install {versions[0]} (or pyenv install {versions[0]}), or --python"
    )


def _interpreters(versions: tuple[str, ...]) -> Iterator[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    managed = Path.home() / ".local" / "share" / "uv" / "python"
    for version in versions:
        if version == "{}.{}".format(*sys.version_info):
            yield sys.executable
        if found := shutil.which(f"python{version}"):
            yield found
        yield from map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))
        yield from map(str, sorted(managed.glob(f"cpython-{version}.*/bin/python{version}")))


def _version_of(python: str) -> str:
    """Its "major.minor", "" if it does not run or cannot make environments."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        ran = subprocess.run(  # noqa: S603 - the user's interpreter
            [python, "-s", "-E", "-c", code], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


def _marked(environment: Environment) -> bool:
    try:
        marker = json.loads((environment.folder / MARKER).read_text())
    except (OSError, ValueError):
        return False
    return bool(marker == environment.toolkit.recipe) and environment.python.exists()


def _works(environment: Environment) -> bool:
    """Whether an environment that the user has put there, without a marker, holds the toolkit."""
    if (environment.folder / MARKER).exists() or not environment.python.exists():
        return False
    command = [str(environment.python), "-s", "-E", "-c", f"import {environment.toolkit.check}"]
    return subprocess.run(command, capture_output=True).returncode == 0  # noqa: S603


def _check_machine(toolkit: Toolkit) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise BackendUnavailable(
            f"{toolkit}: expected Linux on x86-64, which it is made for, got {sys.platform} on "
            f"{platform.machine()}"
        )


@contextmanager
def _locked(folder: Path, say: Say) -> Iterator[None]:
    """Hold `folder`.lock; waits for whoever holds it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_name(folder.name + ".lock").open("w")
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror or error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another command that installs into {folder}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(environment: Environment, given: str | None, say: Say) -> None:
    toolkit, folder = environment.toolkit, environment.folder
    python = find_python(toolkit.pythons, given)
    _make_room(toolkit, folder)
    log = folder.with_name(folder.name + ".log")
    log.unlink(missing_ok=True)
    say(f"installing {toolkit} into {folder} (about {toolkit.disk_gb:g} GB; log: {log})")
    folder.mkdir(exist_ok=True)
    (folder / MARKER).write_text("{}")
    _run([python, "-m", "venv", str(folder)], environment, log)
    pip = [str(environment.python), "-m", "pip", "install", "--no-input", "--retries", "1"]
    pip += ["--disable-pip-version-check", "--progress-bar", "off"]
    say(f"installing {len(toolkit.requirements)} packages that it needs")
    _run([*pip, "--extra-index-url", CPU_INDEX, *toolkit.requirements], environment, log)
    say(f"installing {', '.join(toolkit.bare)}")
    _run([*pip, "--no-deps", *toolkit.bare], environment, log)
    say(f"trying to import {toolkit.check}")
    _run([str(environment.python), "-s", "-E", "-c", f"import {toolkit.check}"], environment, log)
    (folder / MARKER).write_text(json.dumps(toolkit.recipe, indent=1))


def _make_room(toolkit: Toolkit, folder: Path) -> None:
    """Remove what an interrupted or older installation left; raises ConfigError."""
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise ConfigError(
                f"{folder}: expected {toolkit}, an empty folder or none, got files that npud has "
                "not made"
            )
        shutil.rmtree(folder)
    free_gb = shutil.disk_usage(folder.parent).free / 1e9
    if free_gb < toolkit.disk_gb:
        raise BackendUnavailable(
            f"{folder}: expected {toolkit.disk_gb:g} GB of free space, got {free_gb:.1f} GB"
        )


def _run(command: list[str], environment: Environment, log: Path) -> None:
    with log.open("ab") as file:
        start = file.tell()
        code = subprocess.run(  # noqa: S603 - fixed commands
            command, stdout=file, stderr=file, env=clean_variables(environment)
        ).returncode
    if code:
        what, said = " ".join(command[1:4]), telling(log, start)
        raise BackendUnavailable(
            f"{environment.toolkit}: {what} failed with code {code}: {said}; log: {log}"
        )
