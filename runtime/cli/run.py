"""`npud run`: the daemon."""

from __future__ import annotations

import logging
import re
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

from runtime import logs, service
from runtime.cli.options import build, thresholds
from runtime.masking import has_password

log = logging.getLogger("npud")


@click.command
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="TOML configuration.")
@click.option("-m", "--model", help="Model file.  [the bundled street model]")
@click.option(
    "-s",
    "--source",
    "sources",
    multiple=True,
    metavar="[NAME=]URL",
    help="Camera: a device, rtsp:// or http:// URL, video, image, directory, glob, or "
    "synthetic:street?seed=7.  Several times for several cameras.",
)
@click.option("-e", "--endpoint", help="Where to publish: ipc://PATH or tcp://ADDRESS:PORT.")
@click.option("--frames", is_flag=True, default=None, help="Publish JPEG pictures too.")
@click.option("--loop", is_flag=True, default=None, help="Start files again at their end.")
@click.option(
    "--every-frame", is_flag=True, help="Files: process every frame without pacing, then end."
)
@thresholds
def command(
    path: Path | None,
    model: str | None,
    sources: tuple[str, ...],
    endpoint: str | None,
    frames: bool | None,
    loop: bool | None,
    every_frame: bool,
    **model_options: Any,
) -> None:
    """Run the daemon: cameras in, detections out.

    Without a config, model or source it runs the bundled model on a generated camera.  Ctrl-C or
    SIGTERM ends it.

    \b
    Examples:
      npud run --endpoint ipc:///tmp/npud
      npud run --model yolov8n.onnx --source front=/dev/video0 --source gate=rtsp://10.0.0.7/live
      npud run --config /etc/npud/config.toml
    """
    tables = {
        "model": {"path": model, **model_options},
        "camera": cameras_of(sources, loop),
        "publish": {"endpoint": endpoint, "frames": frames},
    }
    read = partial(build, path, tables)
    settings = read()
    logs.configure(settings.log)
    if path and any(has_password(camera.url) for camera in settings.camera.values()):
        _warn_of_readers(path)
    service.run(settings, every_frame=every_frame, reread=read if path else None)


def cameras_of(sources: tuple[str, ...], loop: bool | None) -> dict[str, Any]:
    """Read `front=/dev/video0`, or a bare URL, which is named camera0, camera1, … ."""
    cameras: dict[str, Any] = {}
    for number, source in enumerate(sources):
        named = re.match(r"([A-Za-z0-9_.-]+)=(.+)", source)
        name, url = named.groups() if named else (f"camera{number}", source)
        if name in cameras:
            raise click.UsageError(f"--source: two cameras are named {name}")
        if has_password(url):
            log.warning(
                "--source %s: everybody on this machine can read its password (ps); better in a "
                "file for --config",
                name,
            )
        cameras[name] = {"url": url, "loop": bool(loop)}
    return cameras


def _warn_of_readers(path: Path) -> None:
    with suppress(OSError):  # it was there a moment ago
        if path.stat().st_mode & stat.S_IROTH:
            log.warning(
                "%s: everybody can read it, and a camera's password is in it; remedy: chmod o= %s",
                path,
                path,
            )
