"""A script inside a toolkit's environment, as a child process that answers requests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npud.errors import BackendUnavailable, NpudError
from runtime.toolkits.environment import Environment, clean_variables
from runtime.toolkits.noise import reason, telling
from runtime.toolkits.scripts.channel import Message, Tensors, receive, send

SCRIPTS = Path(__file__).parent / "scripts"
GRACE_S = 1.0  # there is nothing to save


class Script:
    """One running script.  Its noise goes to `log`; for one thread at a time.

    Errors are raised as `kind`, with the last line of the log that tells something.
    """

    def __init__(self, environment: Environment, name: str, log: Path) -> None:
        self._name, self._log = name, log
        command = [str(environment.python), "-s", "-E", str(SCRIPTS / name)]
        try:
            with log.open("ab") as noise:
                self._start = noise.tell()
                self._process = subprocess.Popen(  # noqa: S603 - our own script
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=noise,
                    env=clean_variables(environment),
                    cwd=log.parent,
                    start_new_session=True,  # its children end with it
                )
        except OSError as error:
            raise BackendUnavailable(f"{command[0]}: cannot be started: {error}") from None

    def ask(
        self, kind: type[NpudError], request: Message, tensors: Sequence[NDArray[Any]] = ()
    ) -> tuple[Message, Tensors]:
        """Send a request and wait for the answer; raises `kind`."""
        process = self._process
        if process.stdin is None or process.stdout is None or process.stdin.closed:
            raise kind(f"{self._name}: it was closed")
        try:
            send(process.stdin, request, tensors)  # type: ignore[arg-type]
            answer, results = receive(process.stdout)  # type: ignore[arg-type]
        except (EOFError, OSError, ValueError):
            self.close()
            raise kind(self._why(f"it ended with code {process.returncode}")) from None
        if "error" in answer:
            raise kind(self._why(reason(answer["error"])))
        return answer, results

    def close(self) -> None:
        """End it and what it started; calling it twice is harmless."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _why(self, what: str) -> str:
        said = telling(self._log, self._start)
        told = [what] if said in ("", what) else [what, f"it said: {said}"]
        return "; ".join([*told, f"log: {self._log}"])
