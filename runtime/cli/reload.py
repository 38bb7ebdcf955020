"""`npud reload`: have a running daemon read its configuration and model again."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.asking import daemon_socket
from runtime.control.client import ask

ANSWER_S = 300.0  # loading a model takes what it takes


@click.command
@click.argument("endpoint", required=False)
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="Its configuration.")
@click.option("--socket", type=click.Path(path_type=Path), help="Its control socket.")
def command(endpoint: str | None, path: Path | None, socket: Path | None) -> None:
    """Have a running npud read its configuration, manifest and model again.

    A new model is loaded beside the old one, judged by its golden sample, and gets the next frame;
    cameras that have not changed go on.  Where anything is wrong nothing changes, and the reason is
    shown; the exit code is 1 then.  ENDPOINT is the one that it publishes on.

    \b
    Examples:
      npud reload
      npud reload ipc:///tmp/npud
    """
    done = ask(daemon_socket(path, endpoint, socket), "reload", ANSWER_S)
    changed = ", ".join(done["changed"]) or "nothing has changed"
    click.echo(f"reloaded: {changed}; model {done['model']}")
