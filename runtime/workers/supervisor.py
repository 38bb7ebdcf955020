"""Keeps a worker process running: starts it, replaces it when it dies, hangs or grows too large."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from npud.errors import InferenceError, NpudError
from runtime.workers.process import WorkerProcess
from runtime.workers.state import WorkerState

log = logging.getLogger("npud")
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # before the first, second, … restart in a row


@dataclass(frozen=True)
class Limits:
    """What a worker may take: seconds to load, seconds per frame, MiB; failures before an alarm."""

    load_s: float = 60.0
    frame_s: float = 0.5
    rss_mib: float = 0.0  # 0: no limit
    failures: int = 3


class Supervisor:
    """One worker process after another, for the lanes that use it; number: of several, which."""

    def __init__(
        self, settings: Mapping[str, Any], contexts: int, limits: Limits, number: int = 0
    ) -> None:
        self._number = number
        self._settings, self._contexts, self.limits = settings, contexts, limits
        self._changed = threading.Condition()
        self._current: WorkerProcess | None = None
        self._loading: WorkerProcess | None = None
        self._users: dict[WorkerProcess, int] = {}
        self._stopping = False
        self._failures = 0
        self._reason = ""
        self._recycle = False
        self.restarts = 0
        self.plan = self.backend = ""
        self.pid = 0  # of the first worker
        self._thread = threading.Thread(target=self._supervise, daemon=True)

    def start(self) -> None:
        """Start the first worker and wait for it; raises what it met."""
        worker = WorkerProcess(self._settings, self._contexts)
        try:
            self.plan = worker.load(self.limits.load_s)
        except NpudError:
            worker.kill()
            raise
        _report(worker)
        self._current, self.pid, self.backend = worker, worker.pid, worker.backend
        self._thread.start()

    def enter(self, timeout_s: float) -> WorkerProcess | None:
        """The worker to use for one frame; leave() it afterwards.  None where there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._current or self._stopping, timeout_s)
            worker = self._current
            if worker is None or self._stopping:
                return None
            self._users[worker] = self._users.get(worker, 0) + 1
            return worker

    def leave(self, worker: WorkerProcess) -> None:
        """The frame is done."""
        with self._changed:
            self._users[worker] -= 1
            if not self._users[worker]:
                del self._users[worker]
                if worker is not self._current:  # which somebody waits to end
                    self._changed.notify_all()

    def ready(self, timeout_s: float) -> bool:
        """Wait until a worker is there."""
        with self._changed:
            self._changed.wait_for(lambda: self._current or self._stopping, timeout_s)
            return self._current is not None and not self._stopping

    def failed(self, worker: WorkerProcess, reason: str) -> str:
        """Kill a worker that died, hung or talked nonsense; another one is started.

        Returns why it failed first: that it was killed for it is no news from another lane.
        """
        with self._changed:
            if worker is not self._current:
                return worker.failure or reason
            self._current, worker.failure = None, reason
            self._count(reason)
        worker.kill()
        with self._changed:
            self._changed.notify_all()
        return reason

    def succeeded(self, worker: WorkerProcess) -> None:
        """A frame went well: failures in a row start again at 0, and memory is looked at."""
        if self._failures or self._too_large(worker):
            with self._changed:
                self._failures = 0
                if worker is self._current and self._too_large(worker):
                    self._recycle = True
                    self._changed.notify_all()

    def frame_failed(self, reason: str) -> None:
        """Count a frame that the worker answered with an error."""
        with self._changed:
            self._count(reason)

    def problem(self) -> str:
        """Why detections do not come, once `limits.failures` in a row went wrong; else ""."""
        with self._changed:
            if self._failures < self.limits.failures:
                return ""
            return f"{self._reason} ({self._failures} in a row)"

    def doubt(self) -> str:
        """Why the worker's detections are not to be trusted, or ""."""
        with self._changed:
            return self._current.golden.doubt if self._current else ""

    def state(self) -> WorkerState:
        """The worker that runs now, and how often it was replaced."""
        problem = self.problem()
        with self._changed:
            worker = self._current
            pid, rss_mib = (worker.pid, worker.rss_kib // 1024) if worker else (0, 0)
            counts = self.restarts, self._contexts, rss_mib
            return WorkerState(self._number, pid, *counts, problem)

    def close(self) -> None:
        """End the worker and the supervision."""
        with self._changed:
            self._stopping = True
            worker, self._current = self._current, None
            if self._loading:
                self._loading.end_loading()
            self._changed.notify_all()
        if worker:
            worker.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _count(self, reason: str) -> None:
        self._failures += 1
        self._reason = reason

    def _too_large(self, worker: WorkerProcess) -> bool:
        limit = self.limits.rss_mib
        return bool(limit) and worker.rss_kib > limit * 1024

    def _supervise(self) -> None:
        """Start a worker whenever there is none, or a smaller one beside one that has grown."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopping or self._current is None or self._recycle
                )
                if self._stopping:
                    return
                old, self._recycle = self._current, False
            if old:
                log.info("worker %d: %d MiB, is replaced", old.pid, old.rss_kib // 1024)
            worker = self._start_another()
            if worker:
                self._exchange(worker)

    def _start_another(self) -> WorkerProcess | None:
        """A loaded worker; None (counted) where it failed, after the backoff."""
        with self._changed:
            pause = BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1] if self._failures else 0.0
            if self._changed.wait_for(lambda: self._stopping, pause):
                return None
        begun = time.monotonic()
        worker: WorkerProcess | None = None
        try:
            worker = WorkerProcess(self._settings, self._contexts)
            with self._changed:
                self._loading = worker
                if self._stopping:
                    worker.end_loading()
            worker.load(self.limits.load_s)
        except (NpudError, OSError) as error:  # OSError: no more processes, descriptors or memory
            if worker:
                worker.kill()
            with self._changed:
                self._loading = None
                self._count(str(error))
                stopping = self._stopping
            if not stopping:
                log.warning("worker: %s", error)
            return None
        with self._changed:
            self._loading = None
        _report(worker)
        log.info("worker %d: ready after %.1f s", worker.pid, time.monotonic() - begun)
        return worker

    def _exchange(self, worker: WorkerProcess) -> None:
        """Let the next frames go to a new worker; the old one ends when its last frame is done."""
        with self._changed:
            old, self._current = self._current, None if self._stopping else worker
            stopping = self._stopping
            self.restarts += 1
            self._changed.notify_all()
            if old:
                self._changed.wait_for(lambda: old not in self._users, self.limits.frame_s)
        if old:
            old.close()
        if stopping:
            worker.close()


def _report(worker: WorkerProcess) -> None:
    """Say what the golden sample showed."""
    if worker.golden.text:
        level = logging.INFO if worker.golden.healthy else logging.WARNING
        log.log(level, "worker %d: %s", worker.pid, worker.golden.text)


def stopped() -> InferenceError:
    """The error of a frame for which there is no worker."""
    return InferenceError("no worker is ready")
