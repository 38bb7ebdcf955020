"""Where the control socket is."""

from __future__ import annotations

from pathlib import Path

from npud.errors import ConfigError
from runtime.config import Control

MAX_PATH = 107  # bytes of sun_path, less the final zero


def socket_path(settings: Control, endpoint: str) -> Path | None:
    """The control socket's path: beside an ipc endpoint unless the config names one; or none.

    There is none either beside an endpoint whose path is as long as a socket's can be.  Raises
    ConfigError for a path that no socket can have.
    """
    name = settings.socket
    scheme, _, address = endpoint.partition("://")
    if name is None:
        named = scheme == "ipc" and not address.startswith("@")
        name = f"{address}.control" if named else ""
        name = name if len(name.encode()) <= MAX_PATH else ""
    if len(name.encode()) > MAX_PATH or "\0" in name:
        raise ConfigError(f"control.socket: expected a path of at most {MAX_PATH} bytes: {name}")
    return Path(name) if name else None
