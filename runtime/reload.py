"""Reload: a new configuration for a running pipeline; all of it is taken over, or nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from npud.errors import ConfigError, ControlError, NpudError
from runtime.ab import comparing
from runtime.config import Camera, Config
from runtime.detector import read_model
from runtime.engine import Engine
from runtime.memory import give_back
from runtime.pipeline import Pipeline

log = logging.getLogger("npud")
FIXED = ("publish", "control", "record", "metrics", "log")  # sections that need a restart
DEFAULT_CAMERAS = {"street": Camera(url="synthetic:street?seed=2")}


class Reloader:
    """Reads the configuration again and exchanges what has changed, without losing a frame."""

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Config,
        reread: Callable[[], Config],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._pipeline, self._settings, self._reread = pipeline, settings, reread
        self._around = around  # entered while a reload is being worked on
        self._busy = threading.Lock()
        self._before: Config | None = None  # what a promotion replaced

    def reload(self) -> dict[str, Any]:
        """Take over the configuration; {"model": name, "changed": […]}.

        A new model is loaded beside the old one and must find what its golden sample shows; then it
        gets the next frame.  Raises an NpudError where anything is not well: all goes on as before.
        """
        with self._alone():
            return self._reload(self._reread())

    def promote(self, back: bool = False) -> dict[str, Any]:
        """Publish variant b from the next frame on, or (back) what was published before it.

        The figures that have been shown are logged, and written to compare.log.  The configuration
        file is not touched: a reload or a restart goes by it.
        """
        with self._alone():
            old = self._settings
            if back and self._before is None:
                raise ControlError("nothing was promoted since npud was started")
            shown = [] if back else comparing.figures(self._pipeline)
            new = self._before if back and self._before else comparing.promoted(old)
            done = self._reload(new)
            self._before = None if back else old
            what = "taken back" if back else "promoted"
            comparing.write_down(old, what, done["model"], shown)
            return {**done, "figures": [message.to_dict() for message in shown]}

    def watch(self) -> None:
        """Promote b by itself, where the configuration says so and the figures allow it."""
        live = self._pipeline.live
        if live is None or self._busy.locked():
            return
        if comparing.deserves(self._settings, live.latest):
            threading.Thread(target=self.attempt, args=(self.promote,), daemon=True).start()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise ControlError("another reload is being worked on; try again")
        try:
            with self._around():
                yield
        finally:
            self._busy.release()

    def attempt(self, work: Callable[[], object] | None = None) -> None:
        """As reload(), or other work, and log the outcome: nobody waits for an answer."""
        try:
            (work or self.reload)()
        except NpudError as error:
            log.error("reload: %s; nothing was changed", error)

    def _reload(self, new: Config) -> dict[str, Any]:
        old = self._settings
        for section in FIXED:
            if getattr(new, section) != getattr(old, section):
                raise ConfigError(f"{section}: a change there needs a restart of npud")
        changed = []
        compared = (new.compare, new.model, new.backend) != (old.compare, old.model, old.backend)
        if compared:
            comparing.end(self._pipeline)
        if engine := self._new_engine(new):
            try:
                before = self._pipeline.swap(engine)
            except NpudError:
                engine.close()
                raise
            before.close()
            changed.append("model")
        if new.camera != old.camera:
            self._pipeline.set_cameras(new.camera or DEFAULT_CAMERAS)
            changed.append("camera")
        if compared:
            comparing.begin(self._pipeline, new)
            changed += ["compare"] if new.compare != old.compare else []
        self._settings = new
        if changed:
            give_back()  # what the old model and cameras had
        model = self._pipeline.engine.files.name
        log.info("reloaded: %s; model %s", ", ".join(changed) or "nothing has changed", model)
        return {"model": model, "changed": changed}

    def _new_engine(self, new: Config) -> Engine | None:
        """The new model, loaded and judged; None where the old one is the same."""
        old, files = self._pipeline.engine.files, read_model(new.model)
        same = (files.name, files.manifest_digest) == (old.name, old.manifest_digest)
        if same and (new.model, new.backend) == (self._settings.model, self._settings.backend):
            return None
        return comparing.open_sound(files, new)
