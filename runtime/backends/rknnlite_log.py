"""What rknn-toolkit-lite2 logs, which is the only place where it says why something failed."""

from __future__ import annotations

import logging
import threading
from typing import Any

log = logging.getLogger("npud")


class Heard(logging.Handler):
    """Takes the place of the binding's handlers: its lines become part of npud's errors.

    Its logger is one for all objects, so lines are kept per thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines = threading.local()

    def attach(self, lite: Any) -> None:
        """Hear what `lite` logs."""
        logger = getattr(getattr(lite, "rknn_log", None), "logger", None)
        if isinstance(logger, logging.Logger):
            logger.handlers[:] = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; warnings are npud's too."""
        text = record.getMessage()
        if record.levelno == logging.WARNING and "static shape" not in text:
            log.info("rknnlite: %s", text.strip())
        self._lines.__dict__.setdefault("kept", []).append(text)

    def clear(self) -> None:
        """Forget this thread's lines."""
        self._lines.__dict__["kept"] = []

    def text(self) -> str:
        """This thread's lines since clear()."""
        return "\n".join(self._lines.__dict__.get("kept", []))

    def reason(self) -> str:
        """The last line that says something: a traceback's exception."""
        lines = [line.strip() for line in self.text().splitlines() if line.strip()]
        return lines[-1] if lines else "it does not say why"


heard = Heard()
