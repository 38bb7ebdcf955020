"""`npud promote`: publish variant b of the running comparison."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.asking import daemon_socket
from runtime.cli.reload import ANSWER_S
from runtime.control.client import ask


@click.command
@click.argument("endpoint", required=False)
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="Its configuration.")
@click.option("--socket", type=click.Path(path_type=Path), help="Its control socket.")
@click.option("--back", is_flag=True, help="Publish again what was published before.")
def command(endpoint: str | None, path: Path | None, socket: Path | None, back: bool) -> None:
    """Publish variant b of a running npud's comparison, from the next frame on.

    b is loaded with all contexts, must find what its golden sample shows, and replaces a without
    losing a frame.  What the comparison has shown is logged, and written to compare.log.  The
    configuration file is not changed: put b's keys into [model], or a restart is a again.

    \b
    Examples:
      npud promote
      npud promote --back
    """
    done = ask(daemon_socket(path, endpoint, socket), "promote", ANSWER_S, back=back)
    click.echo(f"published now: {done['model']}")
    for one in done["figures"]:
        for line in one["verdict"]:
            click.echo(f"  {one['camera']}: {line}")
    if not back:
        click.echo("to keep it, put [compare.model] and [compare.backend] into [model], [backend]")
