"""ZeroMQ endpoints: the default one, what a valid one looks like, why one may stay silent."""

from __future__ import annotations

import os
import re
import socket
import stat

DEFAULT_ENDPOINT = "ipc:///run/npud/detections"
_MAX_IPC_PATH = 107  # bytes of sun_path, less the final zero
_PROBE_S = 0.2
_TCP = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})")
_EXPECTED = 'expected "ipc:///path", "ipc://@name" or "tcp://host:port"'


def endpoint_problem(endpoint: str) -> str | None:
    """Say what is wrong with the syntax of an endpoint; None where nothing is.

    inproc:// endpoints are accepted too: they connect threads that share a ZeroMQ context.
    """
    scheme, separator, address = endpoint.partition("://")
    problem = None
    if not separator or scheme not in ("ipc", "tcp", "inproc"):
        problem = _EXPECTED
    elif not address or "\0" in address:
        problem = f"{_EXPECTED}; nothing usable follows {scheme}://"
    elif scheme == "ipc" and len(os.fsencode(address)) > _MAX_IPC_PATH:
        problem = f"expected an ipc path of at most {_MAX_IPC_PATH} bytes"
    elif scheme == "tcp":
        match = _TCP.fullmatch(address)
        if match is None or not 0 < int(match[2]) < 65536:
            problem = "expected tcp://host:port with a port from 1 to 65535"
    return problem and f"endpoint {endpoint!r}: {problem}"


def silence_hint(endpoint: str) -> str:
    """Say what to check when nothing comes from `endpoint`."""
    scheme, _, address = endpoint.partition("://")
    if scheme == "tcp":
        return (
            "is npud running there, does a firewall let the port through, and do both sides use "
            "the keys that belong together, or none?"
        )
    if scheme == "ipc" and not address.startswith("@"):
        return _socket_hint(address)
    return "is npud running and publishing there?"


def _socket_hint(path: str) -> str:
    """Say what is wrong with a Unix socket, by connecting to it."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(_PROBE_S)
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return f"{path} is not a socket: is this the endpoint that npud publishes on?"
        probe.connect(path)
    except FileNotFoundError:
        return f"{path} does not exist: is npud running, and does it publish there?"
    except PermissionError:
        return f"no permission to use {path}: is this user in the group of the socket?"
    except ConnectionRefusedError:
        return f"nobody listens on {path}: npud has ended without removing it"
    except OSError as error:
        return f"{path}: {error.strerror or error}: is npud hanging?"
    finally:
        probe.close()
    return "npud listens there but says nothing: is it stopped or hanging?"
