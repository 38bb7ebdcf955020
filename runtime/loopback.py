"""Which addresses only this machine can reach: what is open to others must be asked for."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether nobody but this machine can connect to a socket bound to `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host in {"localhost", "lo"}
