"""One worker process, from start to end, as the daemon sees it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from npud import errors
from npud.errors import InferenceError, NpudError
from runtime.golden.verdict import Outcome
from runtime.recording.setup import Setup
from runtime.workers.channel import Channel, Closed

LANES = 2  # per context: one prepares a frame while the other's is in the NPU
GRACE_S = 0.3  # between closing the channels and SIGKILL


class WorkerProcess:
    """A process that hosts `contexts` contexts, LANES channels (lanes) for each, side by side."""

    def __init__(self, settings: Mapping[str, Any], contexts: int) -> None:
        pairs = [Channel.pair() for _ in range(LANES * contexts + 1)]
        self._control, *self.lanes = (ours for ours, _ in pairs)
        fds = [theirs.fileno() for _, theirs in pairs]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "runtime.workers.child", *map(str, fds)],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is for the daemon
        )
        for _, theirs in pairs:
            theirs.close()
        self._settings = settings
        self.pid = self._process.pid
        self.rss_kib = 0
        self.failure = ""  # why it was given up
        self.golden = Outcome()
        self.setup: Setup | None = None  # once it is loaded
        self.backend = ""

    def load(self, deadline_s: float) -> str:
        """Wait until the model is loaded; returns how its head is read.

        Raises the error that the worker met (ModelError, BackendUnavailable, …), or InferenceError
        where it died or did not get ready in time.
        """
        try:
            self._control.send(self._settings)
            received = self._control.receive(deadline_s)
        except (Closed, ValueError):
            reason = f"worker {self.pid}: {self.end()} while it loaded the model"
            raise InferenceError(reason) from None
        if received is None:
            raise InferenceError(
                f"worker {self.pid}: expected the model to be loaded within {deadline_s:g} s"
            )
        try:
            return self._loaded(received[0])
        except (ValueError, KeyError, TypeError) as error:
            raise InferenceError(f"worker {self.pid}: answered nonsense ({error})") from None

    def _loaded(self, message: Any) -> str:
        if "failed" in message:
            raise error_of(message["failed"], message["text"])
        text, healthy = message["golden"]
        self.golden = Outcome(str(text), bool(healthy))
        self.setup = Setup.decode(message["setup"])
        self.backend = str(message["backend"])
        return str(message["ready"])

    def end_loading(self) -> None:
        """End the process while another thread waits in load(), which raises then."""
        if self.alive():
            self._process.kill()

    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    def end(self) -> str:
        """How the process ended, in words; waits a moment for it where its channel just broke."""
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return "closed its channel"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"died of {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def close(self) -> None:
        """End the process, by force where it does not end by itself, and wait until it is gone."""
        for channel in (self._control, *self.lanes):
            channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self.kill()

    def kill(self) -> None:
        """End the process at once, and wait until it is gone."""
        for channel in (self._control, *self.lanes):
            channel.close()
        if self.alive():
            self._process.kill()
        self._process.wait()


def error_of(name: str, text: str) -> NpudError:
    """The error that a worker reported, as an error of the same class here."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, NpudError):
        return kind(text)
    return InferenceError(f"worker: {name}: {text}")


def remaining(deadline: float) -> float:
    """Seconds until a time.monotonic() deadline, at least 0."""
    return max(0.0, deadline - time.monotonic())
