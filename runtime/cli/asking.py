"""Options of the commands that ask a running daemon."""

from __future__ import annotations

from pathlib import Path

from npud.errors import ConfigError
from runtime.cli.options import build
from runtime.control.place import socket_path


def daemon_socket(config: Path | None, endpoint: str | None, socket: Path | None) -> Path:
    """The control socket of the daemon that has this config, endpoint or socket.

    Raises ConfigError where such a daemon has none.
    """
    if socket:
        return socket
    settings = build(config, {"publish": {"endpoint": endpoint}})
    path = socket_path(settings.control, settings.publish.endpoint)
    if path is None:
        raise ConfigError(
            f"control.socket: the daemon that publishes on {settings.publish.endpoint} has none; "
            "name one in its config, and here with --socket PATH"
        )
    return path
