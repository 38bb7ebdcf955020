"""`npud watch`: a live table of what is published, or JSON lines for other programs."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TypedDict

import click
from rich.console import Console
from rich.live import Live

import npud
from npud.endpoints import endpoint_problem
from npud.errors import SubscribeError
from npud.messages import DetectionsMessage, Message
from npud.wire import valid_camera_name
from runtime.cli._table import WatchTable

_REFRESH_S = 0.2


class Keys(TypedDict):
    """Files of `npud keys`."""

    server_key: str | None
    key: str | None


def _check_endpoint(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    problem = endpoint_problem(value)
    if problem:
        raise click.BadParameter(problem)
    return value


def _check_cameras(
    _context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    for name in value:
        if not valid_camera_name(name):
            raise click.BadParameter(
                f"expected 1 to 64 letters, digits, '_', '.' or '-', got {name!r}"
            )
    return value


@click.command(name="watch", epilog="Ends with Ctrl-C, or after --seconds.")
@click.argument("endpoint", default=npud.DEFAULT_ENDPOINT, callback=_check_endpoint)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per frame.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="End after N seconds; exit code 1 if no frame came.",
)
@click.option(
    "--camera",
    "cameras",
    multiple=True,
    metavar="NAME",
    callback=_check_cameras,
    help="Only this camera; may be given several times.",
)
@click.option("--server-key", metavar="FILE", help="The daemon's public key, where it has one.")
@click.option("--key", metavar="FILE", help="Your own secret key, beside --server-key.")
def command(
    endpoint: str,
    as_json: bool,
    seconds: float | None,
    cameras: tuple[str, ...],
    server_key: str | None,
    key: str | None,
) -> None:
    """Watch what a running npud publishes, live.

    ENDPOINT is ipc:///run/npud/detections unless given.  On a terminal this is a table; when
    piped, or with --json, one line of JSON per frame.

    \b
    Examples:
      npud watch
      npud watch tcp://board.local:5555 --camera front
      npud watch --json | jq -c '.detections[].label'
    """
    end_s = math.inf if seconds is None else monotonic() + seconds
    keys: Keys = {"server_key": server_key, "key": key}
    show = _print_json if as_json or not sys.stdout.isatty() else _show_table
    try:
        with _terminated_like_ctrl_c():
            count = show(endpoint, cameras, end_s, keys)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if count == 0:
        raise SubscribeError(f"no detections from {endpoint} within {seconds:g} s")


def _print_json(endpoint: str, cameras: tuple[str, ...], end_s: float, keys: Keys) -> int:
    """Print detections messages until `end_s`, and return how many there were."""
    count = 0
    with npud.subscribe(endpoint, cameras or None, **keys) as subscriber:
        for message in _until(end_s, subscriber, lambda problem: click.echo(problem, err=True)):
            if message is not None:
                click.echo(json.dumps(message.to_dict()))
                count += 1
    return count


def _show_table(endpoint: str, cameras: tuple[str, ...], end_s: float, keys: Keys) -> int:
    """Show the live table until `end_s`, and return how many detections messages there were."""
    count, next_refresh_s = 0, 0.0
    table = WatchTable(endpoint)
    topics = ("detections", "status")
    with (
        npud.subscribe(
            endpoint, cameras or None, topics=topics, heartbeat_timeout_s=None, **keys
        ) as subscriber,
        Live(console=Console(), auto_refresh=False) as live,
    ):
        for message in _until(end_s, subscriber, table.add_problem):
            if message is not None:
                table.add(message)
                count += isinstance(message, DetectionsMessage)
            if monotonic() >= next_refresh_s:
                live.update(table.render(), refresh=True)
                next_refresh_s = monotonic() + _REFRESH_S
    return count


def _until(
    end_s: float, subscriber: npud.Subscriber[Message], complain: Callable[[str], None]
) -> Iterator[Message | None]:
    """Yield messages until `end_s`, and None now and then when there are none."""
    while (left_s := end_s - monotonic()) > 0:
        try:
            yield subscriber.recv(min(_REFRESH_S, left_s))
        except SubscribeError as error:
            complain(str(error))


@contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """Make SIGTERM end the command as Ctrl-C does, so that the terminal is left in order."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
