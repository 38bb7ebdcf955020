"""CURVE on the daemon's socket: traffic is encrypted, and only listed clients may subscribe."""

from __future__ import annotations

import logging
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator

from npud.errors import ConfigError
from npud.keys import PUBLIC_SUFFIX, key_pair, public_key
from runtime.config import Publish

log = logging.getLogger("npud")
DOMAIN = "*"
MOST_CLIENTS = 1000


class AllowList:
    """The public keys in a folder; looked at again whenever the folder has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = -1
        self._keys: set[bytes] = set()
        self._refused: set[bytes] = set()
        self.callback(DOMAIN, b"")  # raises ConfigError now rather than later

    def callback(self, domain: str, key: bytes) -> bool:
        """Tell whether the client with this key (Z85) may subscribe; called for each connection."""
        try:
            changed = self._folder.stat().st_mtime_ns
            if changed != self._seen:
                self._keys, self._seen = self._read(), changed
        except OSError as error:
            if self._seen < 0:
                raise ConfigError(
                    f"publish.clients: {self._folder}: {error.strerror or error}"
                ) from None
            log.warning("publish.clients: %s: %s", self._folder, error)
            self._keys = set()
        known = key in self._keys
        if key and not known and key not in self._refused and len(self._refused) < MOST_CLIENTS:
            self._refused.add(key)  # each is told once
            log.warning("subscriber refused: unknown key %s", key.decode("ascii", "replace"))
        return known

    def _read(self) -> set[bytes]:
        keys = set()
        for file in sorted(self._folder.iterdir())[:MOST_CLIENTS]:
            if file.suffix != PUBLIC_SUFFIX:
                continue
            try:
                keys.add(public_key(file))
            except ValueError as error:
                if self._seen < 0:
                    raise ConfigError(f"publish.clients: {error}") from None
                log.warning("publish.clients: %s", error)
        return keys


def secure(
    socket: zmq.Socket[bytes], context: zmq.Context[zmq.Socket[bytes]], settings: Publish
) -> ThreadAuthenticator | None:
    """Make a socket that is not yet bound take CURVE clients only, where a key is configured.

    Returns what must be stopped before the context ends.  Raises ConfigError.
    """
    if not settings.key:
        if settings.clients:
            raise ConfigError("publish.clients: expected publish.key beside it, got none")
        return None
    if not settings.clients:
        raise ConfigError(
            "publish.clients: expected a folder with the public keys of those who may subscribe "
            "(npud keys --help)"
        )
    try:
        public, secret = key_pair(settings.key)
    except ValueError as error:
        raise ConfigError(f"publish.key: {error}") from None
    allowed = AllowList(Path(settings.clients))
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = public, secret
    socket.zap_domain = DOMAIN.encode()
    gate = ThreadAuthenticator(context)
    gate.start()
    gate.configure_curve_callback(DOMAIN, allowed)
    return gate
