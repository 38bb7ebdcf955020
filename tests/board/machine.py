"""Board: build it once into a cache folder, run its Python."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.board.requirements import (
    DEBS,
    HEADERS,
    PLATFORMS,
    PYTHON,
    TOOLS,
    WHEELS,
    BoardError,
    require_tools,
    run,
)

HERE = Path(__file__).resolve().parent
DEFAULT_CPU = "cortex-a76"


@dataclass(frozen=True)
class Board:
    """A built board: `root` is its file system, `site` its installed wheels."""

    folder: Path

    @property
    def root(self) -> Path:
        """The board's file system, as far as it has one."""
        return self.folder / "root"

    @property
    def site(self) -> Path:
        """Where its wheels are."""
        return self.folder / "site"

    def command(self, arguments: Sequence[str], cpu: str, plugin: str | None = None) -> list[str]:
        """The host's command line that runs the board's Python; `plugin` is qemu's -plugin."""
        counting = ["-plugin", plugin, "-d", "plugin"] if plugin else []
        python = self.root / f"usr/bin/python{PYTHON}"
        return ["qemu-aarch64", "-cpu", cpu, *counting, "-L", str(self.root), str(python)] + [
            str(argument) for argument in arguments
        ]

    def environment(self, path: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The host's environment with `path` and the board's wheels as PYTHONPATH."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        kept |= {"PYTHONPATH": f"{path}:{self.site}", "PYTHONDONTWRITEBYTECODE": "1"}
        return kept | dict(extra or {})

    def popen(
        self,
        arguments: Sequence[str],
        path: Path,
        cpu: str = DEFAULT_CPU,
        plugin: str | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start the board's Python in `path`; output and errors come together, as text."""
        return subprocess.Popen(
            self.command(arguments, cpu, plugin),
            cwd=path,
            env=self.environment(path, extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def cache_folder() -> Path:
    """Folder for everything that is kept from run to run."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "npud-board"


def get_board() -> Board:
    """Build the board unless the cache has it.  Raises BoardError."""
    require_tools(TOOLS)
    folder = cache_folder() / _key()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            print(f"board: building {folder} (half a minute, 200 MB)", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            _build(Board(folder))
            (folder / "complete").touch()
    return Board(folder)


def _key() -> str:
    """Hash of all that decides what the board is made of."""
    recipe = (HERE / "machine.py").read_bytes() + (HERE / "requirements.py").read_bytes()
    return hashlib.sha256(recipe).hexdigest()[:12]


def _build(board: Board) -> None:
    _unpack_debian(board)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(board.site)]
    pip += [f"--platform={name}" for name in PLATFORMS]
    pip += [f"--abi={abi}" for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none")]
    pip += [f"--python-version={PYTHON}", "--implementation=cp", "--only-binary=:all:"]
    run([*pip, *WHEELS])


def _unpack_debian(board: Board) -> None:
    """The host's package sources, for another architecture, with state of apt's own."""
    apt, archives = board.folder / "apt", board.folder / "apt" / "archives"
    for folder in (board.root, apt / "lists" / "partial", archives / "partial"):
        folder.mkdir(parents=True)
    (apt / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
        "Dir::Cache::archives": archives,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
    }
    get = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in settings.items())]
    try:
        run([*get, "update"])
        run([*get, "install", "-y", "--download-only", *DEBS])
        run([*get, "download", HEADERS], cwd=archives)
    except BoardError as error:
        needed = (
            f"the host's package sources must offer python{PYTHON} for arm64, as Debian 12's do"
        )
        raise BoardError(f"{error}\n{needed}") from error
    for deb in sorted(archives.glob("*.deb")):
        run(["dpkg", "-x", str(deb), str(board.root)])
    shutil.rmtree(apt)
