"""`npud status`: what a running daemon knows of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from runtime.cli.asking import daemon_socket
from runtime.control.client import ask

TIMEOUT_S = 5.0


@click.command
@click.argument("endpoint", required=False)
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="Its configuration.")
@click.option("--socket", type=click.Path(path_type=Path), help="Its control socket.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(endpoint: str | None, path: Path | None, socket: Path | None, as_json: bool) -> None:
    """Ask a running npud how it is doing.

    ENDPOINT is the one that it publishes on, ipc:///run/npud/detections unless given: its control
    socket is beside it.  The exit code is 1 where no npud answers.

    \b
    Examples:
      npud status
      npud status ipc:///tmp/npud --json
    """
    status = ask(daemon_socket(path, endpoint, socket), "status", TIMEOUT_S)
    if as_json:
        click.echo(json.dumps(status, indent=1))
        return
    console = Console(highlight=False)
    console.print(_head(status), markup=False)
    console.print(_cameras(status["cameras"]))
    if status["workers"]:
        console.print(_workers(status["workers"]))
    for line in (*_reasons(status), *_recording(status["recording"])):
        console.print(line, markup=False)


def _head(status: dict[str, Any]) -> str:
    seconds = int(status["uptime_s"])
    days, rest = divmod(seconds, 86400)
    up = f"{days} d " if days else ""
    up += f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return (
        f"npud {status['npud']}  pid {status['pid']}  up {up}  {status['endpoint']}\n"
        f"model {status['model']}  {status['backend']}, {status['contexts']} contexts"
    )


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < 2 else "right", no_wrap=True)
    return table


def _cameras(cameras: list[dict[str, Any]]) -> Table:
    table = _table("camera", "state", "fps", "p50 ms", "p99 ms", "captured", "published", "dropped")
    for one in cameras:
        latency = one["latency_us"]
        counts = (str(one[name]) for name in ("captured", "published", "dropped"))
        milliseconds = (f"{latency[name] / 1000:.1f}" for name in ("p50", "p99"))
        table.add_row(one["camera"], one["state"], f"{one['fps']:.1f}", *milliseconds, *counts)
    return table


def _workers(workers: list[dict[str, Any]]) -> Table:
    table = _table("worker", "state", "contexts", "restarts", "MiB")
    for one in workers:
        pid = str(one["pid"]) if one["pid"] else "is started"
        counts = (str(one[name]) for name in ("contexts", "restarts", "rss_mib"))
        table.add_row(pid, one["problem"] or "ok", *counts)
    return table


def _reasons(status: dict[str, Any]) -> list[str]:
    return [f"{one['camera']}: {one['reason']}" for one in status["cameras"] if one["reason"]]


def _recording(state: dict[str, Any] | None) -> list[str]:
    if state is None:
        return []
    lines = [
        f"in memory: {state['frames']} frames, {state['seconds']:.1f} s, "
        f"{state['bytes'] / 2**20:.1f} of {state['max_bytes'] / 2**20:.0f} MiB, "
        f"{state['dropped']} dropped"
    ]
    return [*lines, f"in memory: {state['problem']}"] if state["problem"] else lines
