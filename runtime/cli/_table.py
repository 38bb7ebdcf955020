"""WatchTable: what is published now, as a table for a terminal of 80 columns or more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from npud.endpoints import silence_hint
from npud.messages import DetectionsMessage, Message, StatusMessage

_SILENT_S = 2.5  # a status comes every second
_STYLES = {"ok": "green", "starting": "cyan", "degraded": "bold yellow", "stopped": "dim"}
_NUMBERS = ("fps", "p50 ms", "p99 ms", "dropped", "lost")


class _Camera:
    """The last messages of one camera."""

    def __init__(self) -> None:
        self.detections: DetectionsMessage | None = None
        self.status: StatusMessage | None = None
        self.lost = 0
        self.heard_s = 0.0

    def silent_s(self, now_s: float) -> float:
        """Seconds without a message, 0 while that is as it should be."""
        silent_s = now_s - self.heard_s
        stopped = self.status is not None and self.status.state == "stopped"
        return 0.0 if stopped or silent_s < _SILENT_S else silent_s


class WatchTable:
    """Collects messages with `add`, and shows what they say with `render`.

    `clock` gives monotonic seconds: a camera that says nothing for 2.5 s is shown as silent.
    """

    def __init__(self, endpoint: str, clock: Callable[[], float] = monotonic) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._start_s = clock()
        self._cameras: dict[str, _Camera] = {}
        self._problem = ""
        self._known_hint: str | None = None

    def add(self, message: Message) -> None:
        """Take in a detections or status message."""
        camera = self._cameras.setdefault(message.camera, _Camera())
        camera.heard_s = self._clock()
        self._known_hint = None
        if isinstance(message, DetectionsMessage):
            camera.detections = message
            camera.lost += message.lost
        elif isinstance(message, StatusMessage):
            camera.status = message

    def add_problem(self, text: str) -> None:
        """Show `text` below the table from now on: the last message that was refused."""
        self._problem = text

    def render(self) -> RenderableType:
        """Return the table with notes below it, as things are now."""
        if not self._cameras:
            return Group(*self._waiting(), *self._problems())
        table = Table(
            box=box.SIMPLE_HEAD, expand=True, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
        )
        table.add_column("camera", no_wrap=True, max_width=12, overflow="ellipsis")
        table.add_column("state", no_wrap=True, min_width=8)
        for name in _NUMBERS:
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("objects now", no_wrap=True, overflow="ellipsis", ratio=1)
        notes: dict[tuple[str, str], list[str]] = {}  # (text, style) -> the cameras it is true of
        for name in sorted(self._cameras):
            camera = self._cameras[name]
            silent_s = camera.silent_s(self._clock())
            table.add_row(name, *_cells(camera, silent_s > 0))
            note = self._note(camera, silent_s)
            if note:
                notes.setdefault(note, []).append(name)
        lines = [
            Text(f"{', '.join(names)}: {text}", style) for (text, style), names in notes.items()
        ]
        return Group(table, "", *self._footer(), *lines, *self._problems())

    def _note(self, camera: _Camera, silent_s: float) -> tuple[str, str] | None:
        """Return what there is to say about a camera that is not well, and its style."""
        status = camera.status
        if silent_s > 0:
            return f"no message for {silent_s:.0f} s: {self._hint()}", "red"
        if status and status.state != "ok" and status.reason:
            return printable(status.reason), _STYLES[status.state]
        return None

    def _footer(self) -> list[Text]:
        """Return the lines that name the models, and the cameras of each if there are several."""
        users: dict[str, list[str]] = {}
        for name, camera in sorted(self._cameras.items()):
            last = camera.detections or camera.status
            if last and last.model:
                users.setdefault(printable(last.model), []).append(name)
        models = [f"{model} ({', '.join(names)})" for model, names in users.items()]
        text = "; ".join(users if len(users) == 1 else models)
        return [Text(f"model {text} · {self._endpoint}" if text else self._endpoint, "dim")]

    def _hint(self) -> str:
        """Return what to check, looked up once per silence: it tries to connect."""
        if self._known_hint is None:
            self._known_hint = silence_hint(self._endpoint)
        return self._known_hint

    def _waiting(self) -> list[Text]:
        waited_s = self._clock() - self._start_s
        lines = [Text(f"waiting for {self._endpoint} … {waited_s:.0f} s", "cyan")]
        if waited_s > _SILENT_S:
            lines.append(Text(self._hint(), "yellow"))
        return lines

    def _problems(self) -> list[Text]:
        return [Text(printable(self._problem), "red")] if self._problem else []


def printable(text: str) -> str:
    """Return the text without control characters: a label cannot take over the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def objects_text(message: DetectionsMessage) -> str:
    """Return what is in a message by label, most frequent first: "3 person, 2 car"."""
    counts = Counter(found.label for found in message)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return printable(", ".join(f"{count} {label}" for label, count in ranked))


def _cells(camera: _Camera, silent: bool) -> list[Text]:
    """Return the cells of a camera's row, after its name."""
    status, detections = camera.status, camera.detections
    state = status.state if status else "?"
    numbers = ["–"] * 4
    if status:
        ms = [f"{status.latency_us[p] / 1e3:.1f}" for p in ("p50", "p99")]
        numbers = [f"{status.fps:.1f}", *ms, str(status.dropped)]
    cells = [Text("silent", "bold red") if silent else Text(state, _STYLES.get(state, ""))]
    cells += [Text(number, "dim" if silent else "") for number in numbers]
    cells.append(Text(str(camera.lost), "yellow" if camera.lost else "dim" if silent else ""))
    objects = objects_text(detections) if detections else ""
    return [*cells, Text(objects or "–", "" if objects and not silent else "dim")]
