"""`npud record`: the daemon's pipeline into a file."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import click

from npud.errors import RecordError
from runtime import service
from runtime.cli.asking import daemon_socket
from runtime.cli.options import build, thresholds
from runtime.cli.run import cameras_of
from runtime.cli.sizes import DURATION, SIZE
from runtime.control.client import ask
from runtime.recording.file_sink import FileSink
from runtime.recording.pictures import Frames
from runtime.recording.recorder import Recorder

LARGEST = "500MB"
ANSWER_S = 90.0


@click.command
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="File to write.")
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="TOML configuration.")
@click.option("-m", "--model", help="Model file.  [the bundled street model]")
@click.option(
    "-s",
    "--source",
    "sources",
    multiple=True,
    metavar="[NAME=]URL",
    help="Camera, as for npud run; several times for several cameras.",
)
@click.option(
    "--frames",
    type=click.Choice(["jpeg", "raw", "none"]),
    default="jpeg",
    show_default=True,
    help="Pictures: packed, as the camera gave them, or none.",
)
@click.option(
    "--max-size", type=SIZE, default=LARGEST, show_default=True, help="End before it is larger."
)
@click.option("--duration", type=DURATION, metavar="TIME", help="End after so long, such as 60s.")
@click.option("--loop", is_flag=True, default=None, help="Start files again at their end.")
@click.option(
    "--every-frame",
    is_flag=True,
    help="Files: record every frame without pacing, then end; nothing is dropped.",
)
@click.option("-f", "--force", is_flag=True, help="Replace FILE.")
@click.option(
    "-e",
    "--endpoint",
    help="Publish too, as npud run does [not published]; with --last, where the daemon publishes.",
)
@click.option(
    "--last",
    type=DURATION,
    metavar="TIME",
    help="Write what a running daemon keeps in memory of the last TIME, such as 10s.",
)
@click.option("--socket", type=click.Path(path_type=Path), help="The daemon's control socket.")
@thresholds
def command(
    out: Path | None,
    path: Path | None,
    model: str | None,
    sources: tuple[str, ...],
    frames: Frames,
    max_size: float,
    duration: float | None,
    loop: bool | None,
    every_frame: bool,
    force: bool,
    endpoint: str | None,
    last: float | None,
    socket: Path | None,
    **model_options: Any,
) -> None:
    """Record frames, raw outputs and detections into an MCAP file.

    It runs what npud run runs.  It ends with Ctrl-C, at --duration, before --max-size, or with its
    sources; the file is complete then.  npud replay decodes it again, on any machine.

    \b
    Examples:
      npud record --config /etc/npud/config.toml --duration 60s --out gate.mcap
      npud record --model yolov8n.onnx --source clip.mp4 --every-frame --out clip.mcap
      npud record --last 10s
    """
    if last is not None:
        _write_last(daemon_socket(path, endpoint, socket), last, out, force)
        return
    if out is None:
        raise click.UsageError("expected --out FILE, or --last TIME to ask a running npud")
    settings = build(
        path,
        {
            "model": {"path": model, **model_options},
            "camera": cameras_of(sources, loop),
            "publish": {"endpoint": endpoint},
        },
    )
    sink = FileSink(out, round(max_size), duration or 0.0, overwrite=force)
    recorder = Recorder(sink, frames, lossless=every_frame)
    begun = time.monotonic()
    try:
        service.run(settings, every_frame=every_frame, recorder=recorder, silent=endpoint is None)
    finally:
        recorder.close()
        if not recorder.recorded and not recorder.failure:
            out.unlink(missing_ok=True)
    if recorder.failure:
        raise recorder.failure
    if not recorder.recorded:
        raise RecordError(f"{out}: not written, no frame came")
    ended = f", ended: {sink.reason}" if sink.reason else ""
    dropped = f", {recorder.dropped} dropped" if recorder.dropped else ""
    click.echo(
        f"{out}  {recorder.recorded} frames{dropped}  {out.stat().st_size / 1e6:.1f} MB  "
        f"{time.monotonic() - begun:.1f} s{ended}"
    )


def _write_last(daemon: Path, seconds: float, out: Path | None, force: bool) -> None:
    """Have a daemon write a file in its folder, and copy it."""
    if out and out.exists() and not force:
        raise RecordError(f"{out}: exists; choose another name, or --force")
    made = ask(daemon, "record", ANSWER_S, seconds=seconds)
    path = Path(str(made.get("path")))
    if out:
        try:
            shutil.copyfile(path, out)
        except OSError as error:
            raise RecordError(f"{error.filename}: {error.strerror}; it is in {path}") from None
    click.echo(f"{out or path}  {made.get('frames')} frames  {int(made['bytes']) / 1e6:.1f} MB")
