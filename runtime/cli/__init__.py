"""The command `npud`: one small module per subcommand, loaded when it is used."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

import click

import npud
from npud.errors import ConfigError, NpudError
from runtime import logs
from runtime.lazy import load
from runtime.limits import MAX_PIXELS
from runtime.masking import masked

# name -> one line of help; the command is `command` in the module of the same name
COMMANDS = {
    "run": "Run the daemon: cameras in, detections out.",
    "watch": "Watch what a running npud publishes, live.",
    "status": "Ask a running daemon how it is doing.",
    "reload": "Have a running npud read its configuration and model again.",
    "promote": "Publish variant b of a running comparison.",
    "record": "Record frames, raw outputs and detections, or what a daemon has just seen.",
    "replay": "Decode a recording again, without its model.",
    "detect": "Detect objects in images, once.",
    "prepare": "Cut a model's post-processing off, for the NPU.",
    "convert": "Convert a model for a board with the vendor's toolkit, and verify it.",
    "eval": "Measure how right a model is, on labelled pictures.",
    "compare": "Compare two models: outputs, and what they find.",
    "ab": "Compare two variants of a model on the same frames, with intervals.",
    "calib": "Check a calibration set, and choose a diverse part of it.",
    "probe": "Say what a model gives for a picture, and why it is wrong where it is.",
    "inspect": "Show what a model file says about itself, and what is wrong.",
    "manifest": "Draft the manifest of a model, and make its golden sample.",
    "verify": "Run a model on its golden sample: is it what was converted?",
    "keys": "Make keys, so that other machines may subscribe.",
    "doctor": "Check this machine: NPU, libraries, cameras, endpoint.",
}


class _Commands(click.Group):
    """Subcommands from COMMANDS, imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = load(f"runtime.cli.{cmd_name}:command", "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(npud.__version__, message="npud %(version)s")
def command() -> None:
    """npud: YOLO detections from cameras, over ZeroMQ.

    \b
    Example:
      npud run --source /dev/video0 &
      npud watch
    """


def program() -> None:
    """main(), as a process of its own.

    A thread that is still in a vendor's code must not see the interpreter being taken down: it
    would end the process with SIGABRT or SIGSEGV, whatever the exit code was to be.
    """
    try:
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    if any(thread.daemon for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed by whoever read it
                stream.flush()
        os._exit(code)
    sys.exit(code)


def main() -> None:
    """Run the command line; errors are one line on stderr, with exit code 2 for wrong usage."""
    _set_up_opencv()
    logs.begin()
    try:
        command.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(128 + signal.SIGINT)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except NpudError as error:
        _fail(str(error), 2 if isinstance(error, ConfigError) else 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _fail(message: str, code: int) -> None:
    priority = "<3>" if logs.to_journal() else ""
    click.echo(f"{priority}npud: error: {masked(message)}", err=True)
    sys.exit(code)


def _set_up_opencv() -> None:
    """It reads these when it is loaded: how large an image may be, and to be silent.

    What it and FFmpeg report on stderr comes as an exception anyway.
    """
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
