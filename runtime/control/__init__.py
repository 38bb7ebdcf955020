"""The control socket: a running daemon asked from the same machine (docs/control.md)."""
