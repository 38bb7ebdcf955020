"""Reload: a new configuration for a running pipeline; all of it is taken over, or nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from npud.errors import ConfigError, ControlError, ModelError, NpudError
from runtime.config import Camera, Config
from runtime.contexts import open_engine
from runtime.detector import read_model
from runtime.engine import Engine
from runtime.pipeline import Pipeline

log = logging.getLogger("npud")
FIXED = ("publish", "control", "record")  # sections that need a restart
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

    def reload(self) -> dict[str, Any]:
        """Take over the configuration; {"model": name, "changed": […]}.

        A new model is loaded beside the old one and must find what its golden sample shows; then it
        gets the next frame.  Raises an NpudError where anything is not well: all goes on as before.
        """
        if not self._busy.acquire(blocking=False):
            raise ControlError("another reload is being worked on; try again")
        try:
            with self._around():
                return self._reload(self._reread())
        finally:
            self._busy.release()

    def attempt(self) -> None:
        """As reload(), and log the outcome: for a signal, which nobody answers."""
        try:
            self.reload()
        except NpudError as error:
            log.error("reload: %s; nothing was changed", error)

    def _reload(self, new: Config) -> dict[str, Any]:
        old = self._settings
        for section in FIXED:
            if getattr(new, section) != getattr(old, section):
                raise ConfigError(f"{section}: a change there needs a restart of npud")
        changed = []
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
        self._settings = new
        model = self._pipeline.engine.files.name
        log.info("reloaded: %s; model %s", ", ".join(changed) or "nothing has changed", model)
        return {"model": model, "changed": changed}

    def _new_engine(self, new: Config) -> Engine | None:
        """The new model, loaded and judged; None where the old one is the same."""
        old, files = self._pipeline.engine.files, read_model(new.model)
        same = (files.name, files.manifest_digest) == (old.name, old.manifest_digest)
        if same and (new.model, new.backend) == (self._settings.model, self._settings.backend):
            return None
        engine = open_engine(files, new.model, new.backend)
        if doubt := engine.doubt():
            engine.close()
            raise ModelError(f"model {files.path}: {doubt}")
        return engine
