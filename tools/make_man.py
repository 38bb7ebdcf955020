"""The man page npud(1), from what the commands say of themselves: `python tools/make_man.py`."""

from __future__ import annotations

import click

import npud
from runtime.cli import COMMANDS, command

FILES = {
    "/etc/npud/config.toml": "The configuration of npud.service.",
    "/var/lib/npud/models": "Models and their manifests.",
    "/var/lib/npud/recordings": "Recordings made on an alarm.",
    "/run/npud/detections": "Where subscribers connect; npud status asks detections.control.",
}


def escape(text: str) -> str:
    """Text for roff: no line of it is a request, and a dash is a dash."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in lines)


def section(name: str) -> str:
    """One command: what it does, its options, its examples, as --help prints them."""
    root = click.Context(command, info_name="npud")
    child = command.get_command(root, name)
    assert child is not None
    with click.Context(child, info_name=name, parent=root, max_content_width=76) as context:
        text = escape(child.get_help(context))
    return f".SS npud {name}\n.nf\n{text}\n.fi\n"


def page() -> str:
    """The whole page."""
    parts = [
        f'.TH NPUD 1 "" "npud {npud.__version__}" "User Commands"\n',
        ".SH NAME\nnpud \\- detection runtime: YOLO detections from cameras, over ZeroMQ\n",
        ".SH SYNOPSIS\n.B npud\n.I COMMAND\n[OPTIONS] [ARGUMENTS]\n",
        ".SH COMMANDS\n",
        *(section(name) for name in COMMANDS),
        ".SH EXIT STATUS\n0: success.  2: wrong usage or configuration.  1: any other failure.\n",
        ".SH FILES\n",
        *(f".TP\n.I {escape(path)}\n{escape(what)}\n" for path, what in FILES.items()),
        ".SH SEE ALSO\n.BR systemctl (1),\n.BR journalctl (1)\n",
    ]
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
