"""What can be asked of a running daemon: one function per command."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import npud
from npud.errors import ConfigError, ControlError
from npud.messages import StatusMessage
from runtime.control.server import Command
from runtime.pipeline import Pipeline
from runtime.recording.backlog import Backlog
from runtime.reload import Reloader

NOT_TOLD = ("labels", "session", "seq", "published_ns")  # of a status message


@dataclass
class Daemon:
    """What the commands work on."""

    pipeline: Pipeline
    reloader: Reloader
    endpoint: str
    backlog: Backlog | None = None
    started: float = field(default_factory=time.monotonic)

    def commands(self) -> dict[str, Command]:
        """All commands, by name."""
        return {
            "status": Command(self.status),
            "record": Command(self.record, slow=True),
            "reload": Command(self.reload, slow=True),
            "promote": Command(self.promote, slow=True),
        }

    def status(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What the daemon knows of itself."""
        _known(arguments, ())
        engine = self.pipeline.engine
        files = engine.files
        return {
            "npud": npud.__version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self.started, 1),
            "endpoint": self.endpoint,
            "model": files.name,
            "manifest": files.manifest_digest,
            "backend": engine.backend(),
            "contexts": engine.contexts,
            "cameras": [_camera(status) for status in self.pipeline.statuses()],
            "workers": [asdict(worker) for worker in engine.workers()],
            "recording": self.backlog.state() if self.backlog else None,
        }

    def reload(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Take over the configuration again: {"model", "changed"}."""
        _known(arguments, ())
        return self.reloader.reload()

    def promote(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Publish variant b, or with {"back": true} what it replaced: {"model", "figures"}."""
        _known(arguments, ("back",))
        back = arguments.get("back", False)
        if not isinstance(back, bool):
            raise ConfigError(f"back: expected true or false, got {back!r}")
        return self.reloader.promote(back)

    def record(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Write the last seconds; {"seconds": 10.0} -> {"path", "frames", "bytes"}."""
        _known(arguments, ("seconds",))
        seconds = arguments.get("seconds", 3600.0)
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise ConfigError(f"seconds: expected a number, got {seconds!r}")
        if not 0 < seconds <= 3600:
            raise ConfigError(f"seconds: expected more than 0, at most 3600, got {seconds}")
        if self.backlog is None:
            raise ControlError("nothing is kept in memory: state `record.enabled = true`")
        return self.backlog.write(seconds)


def _known(arguments: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in arguments:
        if name not in names:
            raise ConfigError(
                f"{name[:40]!r}: unknown argument; known: {', '.join(names) or 'none'}"
            )


def _camera(status: StatusMessage) -> dict[str, Any]:
    return {k: v for k, v in asdict(status).items() if k not in NOT_TOLD}
