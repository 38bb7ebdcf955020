"""Backlog: the last seconds of the pipeline in memory, written when an alarm or somebody asks."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from npud.errors import ConfigError, RecordError
from npud.messages import StatusMessage
from runtime import config
from runtime.recording.mcap_file import McapFile, Part, need_mcap
from runtime.recording.recorder import Recorder
from runtime.recording.setup import Setup

log = logging.getLogger("npud")
ENTRY_BYTES = 2048  # of objects around a frame's messages
MOST_QUEUED = 32 << 20
NO_LIMIT = 1 << 62
DUMP_S = 60.0
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}  # nobody's mistake


@dataclass(frozen=True, slots=True)
class _Entry:
    """A frame; its tensors are packed (LZ4)."""

    captured_ns: int
    setup: Setup
    parts: list[Part]

    @property
    def bytes(self) -> int:
        return ENTRY_BYTES + sum(len(part.data) for part in self.parts)


class Memory:
    """A sink: keeps the last frames within bounds of time and bytes."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._span_ns, self._max = round(seconds * 1e9), max_bytes
        self._entries: deque[_Entry] = deque()
        self.bytes = 0
        self.state: dict[str, Any] = {"frames": 0, "bytes": 0, "seconds": 0.0}  # how full it is

    def take(self, setup: Setup, parts: list[Part]) -> bool:
        """Keep a frame, and forget those it displaces."""
        entry = _Entry(parts[-1].captured_ns, setup, [_packed(part) for part in parts])
        if entry.bytes <= self._max:
            while self._entries and self.bytes + entry.bytes > self._max:
                self._forget()
            self._entries.append(entry)
            self.bytes += entry.bytes
        while self._entries and self._entries[0].captured_ns < entry.captured_ns - self._span_ns:
            self._forget()
        self.state = self._state()
        return True

    def close(self) -> None:
        """Nothing is to be finished."""

    def write(self, path: Path, seconds: float) -> int:
        """Write the frames of the last seconds; how many.  Raises RecordError."""
        oldest_ns = self._entries[-1].captured_ns - round(seconds * 1e9) if self._entries else 0
        entries = [entry for entry in self._entries if entry.captured_ns >= oldest_ns]
        if not entries:
            raise RecordError("there is no frame in memory yet")
        file = McapFile(path, NO_LIMIT)
        for entry in entries:
            file.add(entry.setup, [_unpacked(part) for part in entry.parts])
        file.close()
        return file.frames

    def _state(self) -> dict[str, Any]:
        entries = self._entries
        span = (entries[-1].captured_ns - entries[0].captured_ns) / 1e9 if entries else 0.0
        return {"frames": len(entries), "bytes": self.bytes, "seconds": round(span, 2)}

    def _forget(self) -> None:
        self.bytes -= self._entries.popleft().bytes


class Backlog:
    """A recorder into memory, and what makes a file of it.

    All that it keeps is within `max_mib`: frames in memory and frames that wait to be packed; the
    frame in work and the chunk that is being written come on top.  Files are made in the recorder's
    thread: meanwhile frames wait, and are dropped from the recording (not from detection) where
    they do not fit.  Raises ConfigError where the folder cannot be made.
    """

    def __init__(self, settings: config.Record) -> None:
        need_mcap()
        self._settings, self._folder = settings, Path(settings.folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for unfinished in self._folder.glob("npud-*.part"):  # of an npud that was killed
                unfinished.unlink()
        except OSError as error:
            if error.errno not in DISK:
                raise ConfigError(f"record.folder: {self._folder}: {error.strerror}") from None
            log.error("record.folder: %s: %s; detection goes on", self._folder, error.strerror)
        limit = settings.max_mib << 20
        queued = min(limit // 4, MOST_QUEUED)
        self._memory = Memory(settings.seconds, limit - queued)
        self.recorder = Recorder(self._memory, settings.frames, queue_bytes=queued)
        self._degraded: set[str] = set()
        self._alarm_at = float("-inf")

    def close(self) -> None:
        """End the recorder's thread."""
        self.recorder.close()

    def watch(self, statuses: Sequence[StatusMessage]) -> None:
        """Write a recording where a camera's state became degraded; never waits."""
        degraded = {status.camera for status in statuses if status.state == "degraded"}
        new, self._degraded = sorted(degraded - self._degraded), degraded
        now = time.monotonic()
        if not (new and self._settings.on_alarm) or now < self._alarm_at + self._settings.seconds:
            return
        self._alarm_at = now
        self._start(f"alarm-{new[0]}", self._settings.seconds).add_done_callback(_report)

    def write(self, seconds: float) -> dict[str, Any]:
        """Write the last seconds into a file of the folder; which, and what is in it.

        Raises RecordError.
        """
        try:
            path, frames = self._start("asked", seconds).result(DUMP_S)
        except futures.TimeoutError:
            raise RecordError(f"{self._folder}: not written within {DUMP_S:g} s") from None
        return {"path": str(path.resolve()), "frames": frames, "bytes": path.stat().st_size}

    def state(self) -> dict[str, Any]:
        """How full the memory is, and how many frames did not get into it."""
        own = {"max_bytes": self._settings.max_mib << 20, "dropped": self.recorder.dropped}
        return {**self._memory.state, **own, "problem": str(self.recorder.failure or "")}

    def _start(self, reason: str, seconds: float) -> Future[tuple[Path, int]]:
        future: Future[tuple[Path, int]] = Future()

        def work() -> None:
            try:
                future.set_result(self._write(reason, seconds))
            except Exception as error:  # whoever waits is told
                future.set_exception(error)

        self.recorder.call(work)
        return future

    def _write(self, reason: str, seconds: float) -> tuple[Path, int]:
        now_ns = time.time_ns()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_ns // 10**9))
        path = self._folder / f"npud-{stamp}.{now_ns // 10**6 % 1000:03}Z-{reason}.mcap"
        part = path.with_suffix(".part")
        try:
            if not self._folder.exists():
                self._folder.mkdir(parents=True)
            frames = self._memory.write(part, seconds)
            part.rename(path)
            for old in sorted(self._folder.glob("npud-*.mcap"))[: -self._settings.keep]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise RecordError(f"{path}: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
        log.info("recording: %s, %d frames", path, frames)
        return path, frames


def _report(future: Future[tuple[Path, int]]) -> None:
    if error := future.exception():
        log.error("recording: %s", error)


def _packed(part: Part) -> Part:
    if part.kind != "tensors":
        return part
    import lz4.frame

    return replace(part, data=lz4.frame.compress(part.data))


def _unpacked(part: Part) -> Part:
    if part.kind != "tensors":
        return part
    import lz4.frame

    return replace(part, data=lz4.frame.decompress(part.data))
