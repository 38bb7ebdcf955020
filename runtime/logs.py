"""What is told, and how: lines on stderr, JSON, or fields for the journal; never a password.

The journal's protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from runtime.masking import masked

if TYPE_CHECKING:
    from runtime.config import Log

    Lines = logging.StreamHandler[TextIO]
else:
    Lines = logging.StreamHandler  # before Python 3.11 it has no parameter

log = logging.getLogger("npud")
JOURNAL = "/run/systemd/journal/socket"
SEND_S = 0.2  # a journal that takes nothing for so long loses the message
MOST_BYTES = 32 << 10  # of a message in the journal
MINUTE_S = 60.0
MOST_EVENTS = 1000
PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class Plain(logging.Formatter):
    """`npud: message`."""

    def __init__(self) -> None:
        super().__init__("npud: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return masked(super().format(record))


class Json(logging.Formatter):
    """One object per line: time (UTC), level, message, and the camera where it is about one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = time.gmtime(record.created)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", moment) + f".{int(record.msecs):03}Z"
        told = {"time": stamp, "level": record.levelname.lower()}
        if camera := camera_of(record):
            told["camera"] = camera
        told["message"] = masked(super().format(record))
        return json.dumps(told, ensure_ascii=False)


class Stderr(Lines):
    """Lines on stderr; one of these is npud's handler, and configure() finds it."""


class Journal(Stderr):
    """Datagrams to journald; lines with `<priority>` on stderr where it is not to be reached."""

    def __init__(self, path: str = JOURNAL) -> None:
        super().__init__(sys.stderr)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(SEND_S)
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        message = masked(self.format(record))
        try:
            self._socket.sendto(_fields(record, message), self._path)
        except TimeoutError:
            return
        except OSError:
            line = message.replace("\n", " | ")
            self.stream.write(f"<{_priority(record)}>npud: {line}\n")
            self.flush()

    def close(self) -> None:
        """Give up the socket."""
        self._socket.close()
        super().close()


@dataclass
class _Window:
    """A minute of one event of one camera."""

    begun: float
    level: int
    told: int = 0
    more: int = 0
    last: str = ""


class RateLimit:
    """A filter: each event (a line of the code) of each camera at most so often in a minute."""

    def __init__(self, per_minute: int) -> None:
        self._most = per_minute
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, int, str], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be told; those that are not are counted."""
        if getattr(record, "summary", False):
            return True
        key = record.pathname, record.lineno, camera_of(record)
        with self._lock:
            window = self._windows.get(key)
            if window is None:
                if len(self._windows) >= MOST_EVENTS:
                    return True
                window = self._windows[key] = _Window(time.monotonic(), record.levelno)
            if window.told < self._most:
                window.told += 1
                return True
            window.more += 1
            window.last = record.getMessage()
            return False

    def tell(self, *, everything: bool = False) -> None:
        """End the minutes that are over (or all), and say how much was not told in them."""
        now = time.monotonic()
        with self._lock:
            over = [k for k, w in self._windows.items() if everything or now - w.begun > MINUTE_S]
            ended = [(key[2], self._windows.pop(key)) for key in over]
        for camera, window in ended:
            if window.more:
                about = {"camera": camera, "summary": True}
                text = "%d more like the following were not told: %s"
                log.log(window.level, text, window.more, window.last, extra=about)


def begin() -> None:
    """Plain lines on stderr, for every command; where the program has set up logging, as it has."""
    handler = Stderr(sys.stderr)
    handler.setFormatter(Plain())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def configure(settings: Log) -> None:
    """Log as the daemon's configuration says, in place of what begin() has set up."""
    handler = _ours()
    if handler is None:
        return
    logging.root.setLevel(settings.level.upper())
    form = settings.format
    if form == "auto":
        form = "journal" if to_journal() else "plain"
    new: Stderr = Journal() if form == "journal" else Stderr(handler.stream)
    if form != "journal":
        new.setFormatter(Json() if form == "json" else Plain())
    if settings.per_minute:
        new.addFilter(RateLimit(settings.per_minute))
    logging.root.removeHandler(handler)
    logging.root.addHandler(new)
    handler.close()


def tell_counted(*, everything: bool = False) -> None:
    """Say what was held back, once its minute is over (or now)."""
    handler = _ours()
    for limit in handler.filters if handler else ():
        if isinstance(limit, RateLimit):
            limit.tell(everything=everything)


def to_journal() -> bool:
    """Tell whether stderr goes to the journal: systemd says which file that is."""
    try:
        here = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{here.st_dev}:{here.st_ino}"


def camera_of(record: logging.LogRecord) -> str:
    """The camera that a record is about: logged with extra={"camera": …}; or ""."""
    return str(getattr(record, "camera", ""))


def _ours() -> Stderr | None:
    return next((h for h in logging.root.handlers if isinstance(h, Stderr)), None)


def _priority(record: logging.LogRecord) -> int:
    return next((p for level, p in PRIORITY.items() if record.levelno <= level), 2)


def _fields(record: logging.LogRecord, message: str) -> bytes:
    fields = {
        "MESSAGE": message.encode(errors="replace")[:MOST_BYTES],
        "PRIORITY": b"%d" % _priority(record),
        "SYSLOG_IDENTIFIER": b"npud",
        "CODE_FILE": record.pathname.encode(errors="replace"),
        "CODE_LINE": b"%d" % record.lineno,
    }
    if camera := camera_of(record):
        fields["NPUD_CAMERA"] = camera.encode(errors="replace")
    return b"".join(_field(name.encode(), value) for name, value in fields.items())


def _field(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name + b"=" + value + b"\n"
