"""`npud keys`: CURVE keys for a daemon that is read from other machines."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click
import zmq.auth

from npud.errors import ConfigError
from npud.keys import PUBLIC_SUFFIX, SECRET_SUFFIX

SERVER = "server"


@click.command
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--client",
    "clients",
    multiple=True,
    metavar="NAME",
    help="A subscriber that gets keys and may connect; several times for several.",
)
def command(folder: Path, clients: tuple[str, ...]) -> None:
    """Make CURVE keys: the daemon's, once, and one pair for each subscriber.

    FOLDER gets server.key_secret and server.key, NAME.key_secret for each client, and clients/ with
    the public keys of all that may subscribe.  Existing keys are never replaced; to shut a client
    out, remove its file from clients/.

    \b
    Example:
      npud keys /etc/npud/keys --client dashboard --client logger
    """
    made: list[Path] = []
    allowed = folder / "clients"
    try:
        allowed.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o750)
        for name in (SERVER, *clients):
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) or (name == SERVER and made):
                raise ConfigError(
                    "--client: expected 1 to 64 letters, digits, '_', '.' or '-', and not "
                    f"{SERVER!r}, got {name!r}"
                )
            made += _make(folder, name)
        for name in clients:
            os.replace(folder / f"{name}{PUBLIC_SUFFIX}", allowed / f"{name}{PUBLIC_SUFFIX}")
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror or error}") from None
    for path in made:
        click.echo(f"wrote {path}")
    click.echo(_explain(folder, clients))


def _make(folder: Path, name: str) -> list[Path]:
    secret = folder / f"{name}{SECRET_SUFFIX}"
    if secret.exists():
        if name == SERVER:
            return []
        raise ConfigError(f"{secret}: exists already; remove it to give {name} a new key")
    before = os.umask(0o077)
    try:
        zmq.auth.create_certificates(folder, name)
    finally:
        os.umask(before)
    public = folder / f"{name}{PUBLIC_SUFFIX}"
    public.chmod(0o644)
    return [secret] if name != SERVER else [secret, public]


def _explain(folder: Path, clients: tuple[str, ...]) -> str:
    server, own = f"{SERVER}{PUBLIC_SUFFIX}", f"{clients[0] if clients else 'NAME'}{SECRET_SUFFIX}"
    return f"""
In the daemon's config:
  [publish]
  endpoint = "tcp://0.0.0.0:5550"
  key = "{folder / SERVER}{SECRET_SUFFIX}"
  clients = "{folder / "clients"}"

Copy {server} and {own} to the subscriber's machine, and there:
  npud watch tcp://BOARD:5550 --server-key {server} --key {own}
  npud.subscribe("tcp://BOARD:5550", server_key="{server}", key="{own}")"""
