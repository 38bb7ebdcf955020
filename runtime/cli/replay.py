"""`npud replay`: the outputs of a recording, decoded again."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from npud.errors import ConfigError, RecordError
from npud.messages import DetectionsMessage, FrameMessage, StatusMessage
from runtime.accuracy.records import record_of
from runtime.cli.options import build, recorded_thresholds
from runtime.cli.result import as_text
from runtime.detector import Timing
from runtime.draw import draw
from runtime.frame import Frame
from runtime.publish import Publisher
from runtime.recording import pictures
from runtime.recording.export import export
from runtime.recording.reader import Reader
from runtime.recording.replay import Replayed, replay
from runtime.sources.images import write_image


@click.command
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per frame.")
@click.option(
    "--check",
    is_flag=True,
    help="Compare with the recorded messages, byte for byte; exit code 1 at the first difference.",
)
@click.option(
    "-p", "--publish", "endpoint", metavar="ENDPOINT", help="Publish too, in the recorded pace."
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the recorded pictures with the boxes drawn into them.",
)
@click.option(
    "--to-npz",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the outputs as a recording for backend replay, a manifest beside it; no more.",
)
@recorded_thresholds
def command(
    file: Path,
    as_json: bool,
    check: bool,
    endpoint: str | None,
    save: Path | None,
    to_npz: Path | None,
    **changed: Any,
) -> None:
    """Decode the raw outputs in FILE again and print the detections.

    FILE is a recording of npud record; its model is not needed.  With other thresholds, what would
    have been detected with them.

    \b
    Examples:
      npud replay gate.mcap
      npud replay gate.mcap --check
      npud replay gate.mcap --score 0.1 --save out
    """
    given = {key: value for key, value in changed.items() if value is not None}
    build(None, {"model": given})  # refuses what is no threshold
    if check and given:
        raise ConfigError("--check: compares with the recorded thresholds; got others")
    reader = Reader(file)
    if to_npz:
        click.echo(export(reader, to_npz))
        return
    frames = differing = 0
    with _publisher(endpoint) as publisher:
        for one in replay(reader, given):
            frames += 1
            difference = one.difference() if check else ""
            differing += bool(difference)
            if difference and differing == 1:
                click.echo(f"npud: {file}: {difference}", err=True)
            if save:
                _save(one, save)
            if publisher:
                publisher.send(one)
            if as_json:
                click.echo(json.dumps(one.message.to_dict()))
            elif not check:
                click.echo(_text(one))
    if reader.cut:
        click.echo(f"npud: {file}: {reader.cut}", err=True)
    if not frames:
        raise RecordError(f"{file}: no frame with raw outputs in it")
    if differing:
        raise RecordError(f"{file}: {differing} of {frames} frames decode to other bytes")
    if check and not as_json:
        click.echo(f"{file}: {frames} frames decode to the recorded bytes")


class _Paced:
    """Publishes what was recorded as it came, with a status once a second, which has the labels."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._ahead_ns: int | None = None
        self._statuses: dict[str, StatusMessage] = {}

    def send(self, one: Replayed) -> None:
        """Send a frame's messages when it is time for them."""
        message = one.message
        if self._ahead_ns is None:
            self._ahead_ns = message.captured_ns - time.monotonic_ns()
        time.sleep(max(0, message.captured_ns - self._ahead_ns - time.monotonic_ns()) / 1e9)
        self._tell(message)
        self._publisher.send(message)
        if one.recorded.picture and one.recorded.picture[0] == "foxglove.CompressedImage":
            jpeg = pictures.jpeg_of(one.recorded.picture[1])
            self._publisher.send(FrameMessage.of(message, jpeg))

    def end(self) -> None:
        """Say that no more comes."""
        for status in self._statuses.values():
            reason = "the recording has ended"
            self._publisher.send(
                replace(status, seq=status.seq + 1, state="stopped", reason=reason)
            )

    def _tell(self, message: DetectionsMessage) -> None:
        now_ns = time.time_ns()
        last = self._statuses.get(message.camera)
        if last and last.session == message.session and now_ns < last.published_ns + 10**9:
            return
        status = StatusMessage(
            camera=message.camera,
            session=message.session,
            seq=last.seq + 1 if last else 0,
            published_ns=now_ns,
            state="ok",
            labels=message.labels,
            model=message.model,
            width=message.width,
            height=message.height,
        )
        self._statuses[message.camera] = status
        self._publisher.send(status)


@contextlib.contextmanager
def _publisher(endpoint: str | None) -> Iterator[_Paced | None]:
    if endpoint is None:
        yield None
        return
    publisher = Publisher(build(None, {"publish": {"endpoint": endpoint}}).publish)
    paced = _Paced(publisher)
    try:
        yield paced
        paced.end()
    finally:
        publisher.close()


def _save(one: Replayed, folder: Path) -> None:
    if one.recorded.picture is None:
        raise RecordError("--save: there are no pictures in the recording")
    folder.mkdir(parents=True, exist_ok=True)
    message = one.message
    kind, data = one.recorded.picture
    drawn = draw(pictures.decode(data, kind), message.detections, message.labels)
    write_image(folder / f"{message.camera}-{message.frame:06}.jpg", drawn)


def _text(one: Replayed) -> str:
    message = one.message
    frame = Frame(np.broadcast_to(np.uint8(0), (message.height, message.width, 3)))
    timing = Timing(**{k: v for k, v in message.timing_us.items() if k != "wait"})
    name = Path(f"{message.camera} {message.frame}")
    return as_text(record_of(name, frame, message.detections, timing, message.labels))
