"""What all tests share: the real models where they are, and the daemon as a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("npud", deadline=None)  # a busy machine is no failure
settings.load_profile("npud")
ROOT = Path(__file__).resolve().parent.parent
# Whoever starts the tests in the background has it ignored, and so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
SHARED = Path(os.environ.get("NPUD_SHARED", ROOT.parent / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `shared` are skipped where the real models are not."""
    if not (SHARED / "models").is_dir():
        skip = pytest.mark.skip(reason=f"no real models in {SHARED}")
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models, images and tools."""
    return SHARED


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An ipc endpoint of the test's own, with a path short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="npud-") as folder:
        yield f"ipc://{folder}/detections"


class Daemon:
    """`npud run` in a process of its own."""

    def __init__(
        self, arguments: tuple[str, ...], log: Path, wrapper: tuple[str, ...] = ()
    ) -> None:
        self._log = log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", "runtime.cli", "run", *arguments],
                cwd=ROOT,
                stderr=stderr,
                stdout=stderr,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 60) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def rss_kib(self) -> int:
        """Memory of its own; frames in shared memory come to be used one by one, and do not count."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if "RssAnon" in line)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons: daemon("--source", "…"); whatever still runs at the end is killed."""
    started: list[Daemon] = []

    def start(*arguments: str, wrapper: tuple[str, ...] = ()) -> Daemon:
        one = Daemon(arguments, tmp_path / f"daemon{len(started)}.log", wrapper)
        started.append(one)
        return one

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: command("detect", …) -> (exit code, stdout, stderr)."""
    from runtime.cli import main

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["npud", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
