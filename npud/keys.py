"""CURVE keys: files as `npud keys` writes them (ZeroMQ certificates), read and checked."""

from __future__ import annotations

import os
from pathlib import Path

import zmq
import zmq.auth

SECRET_SUFFIX = ".key_secret"  # noqa: S105 - of file names
PUBLIC_SUFFIX = ".key"
MAX_BYTES = 1 << 14


def public_key(path: str | os.PathLike[str]) -> bytes:
    """The public key (Z85, 40 bytes) of a .key or .key_secret file; raises ValueError."""
    return _load(Path(path))[0]


def key_pair(path: str | os.PathLike[str]) -> tuple[bytes, bytes]:
    """(public, secret) of a .key_secret file that not everybody can read; raises ValueError."""
    file = Path(path)
    public, secret = _load(file)
    if secret is None:
        raise ValueError(f"{file}: expected a secret key (*{SECRET_SUFFIX}), got a public one")
    if file.stat().st_mode & 0o007:
        raise ValueError(f"{file}: everybody can read this secret key; remedy: chmod 640 {file}")
    return public, secret


def _load(file: Path) -> tuple[bytes, bytes | None]:
    if not zmq.has("curve"):
        raise ValueError("this pyzmq was built without CURVE encryption")
    keys: tuple[bytes | None, ...] = ()
    try:
        if file.stat().st_size <= MAX_BYTES:
            keys = zmq.auth.load_certificate(file)
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror or error}") from None
    except ValueError:
        pass
    if not keys or any(key is not None and len(key) != 40 for key in keys):
        raise ValueError(f"{file}: expected a key file as `npud keys` writes it")
    public, secret = keys
    assert public is not None  # noqa: S101 - load_certificate() has raised otherwise
    return public, secret
