"""Measure what each fault of a worker costs, and that a thousand recoveries leave nothing.

    python -m benchmarks.faults [--recoveries 1000] [--check]

Runs `npud run` in worker processes on a generated camera at 30 fps.  Per fault: the frames lost,
the time without detections, the states that were published, and what the daemon said; then
recoveries from crashes and hangs in turn, with the daemon's memory, descriptors, threads, processes
and shared memory before (after the first 40) and after.  --check fails where a fault is not
recovered from or something grows.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import npud
from runtime import testing

CONFIG = """
[backend]
name = "runtime.testing:FaultyBackend"
isolation = "process"
max_memory_mib = 512
threads = 1
[camera.cam]
url = "synthetic:street?seed=3&size=640x480&fps=30"
[publish]
endpoint = "{endpoint}"
"""
IN_TURN = ("crash", "hang", "crash", "crash")
GOOD = 10  # detections messages without a gap: it has recovered
PATIENCE_S = 60.0
STEADY = ("descriptors", "threads", "processes", "memfd")
WARM_UP = 40  # recoveries until the allocator has what it needs (a plateau of about 180 MiB)
RSS_GROWTH = 1.2


class Run:
    """A daemon with its fault file and one subscriber."""

    def __init__(self, folder: Path) -> None:
        self.order, self.log = folder / "fault", folder / "log"
        endpoint = f"ipc://{folder}/e"
        (folder / "config.toml").write_text(CONFIG.format(endpoint=endpoint))
        self.daemon = subprocess.Popen(
            [sys.executable, "-m", "runtime.cli", "run", "-c", str(folder / "config.toml")],
            stderr=self.log.open("w"),
            env=os.environ | {testing.FILE: str(self.order)},
        )
        self.subscriber = npud.subscribe(
            endpoint, topics=("detections", "status"), heartbeat_timeout_s=30
        )
        self.states: set[str] = set()
        self.last = self._next()
        self.recover(lambda _: None)

    def workers(self) -> list[int]:
        """Process ids of the daemon's children."""
        tasks = Path(f"/proc/{self.daemon.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]

    def kill_worker(self) -> None:
        """SIGKILL to the worker process."""
        os.kill(self.workers()[0], signal.SIGKILL)

    def recover(self, begin: Callable[[Run], None]) -> tuple[int, float]:
        """Begin a fault; (frames that never came, seconds without any) until all is well."""
        begin(self)
        lost, silence, good = 0, 0.0, 0
        self.states.clear()
        end = time.monotonic() + PATIENCE_S
        while good < GOOD or "ok" not in self.states:
            if time.monotonic() > end:
                raise SystemExit(f"not recovered within {PATIENCE_S:g} s")
            message = self._next()
            missing = message.frame - self.last.frame - 1
            lost += missing
            silence = max(silence, (message.published_ns - self.last.published_ns) / 1e9)
            self.last = message
            good = 0 if missing > 3 or self.order.exists() else good + 1
        return lost, silence

    def _next(self) -> npud.DetectionsMessage:
        for message in self.subscriber:
            if isinstance(message, npud.StatusMessage):
                self.states.add(message.state)
            elif isinstance(message, npud.DetectionsMessage):
                return message
        raise SystemExit("the daemon fell silent")

    def state(self) -> dict[str, int]:
        """What the daemon holds."""
        process = Path(f"/proc/{self.daemon.pid}")
        rss = re.search(r"VmRSS:\s+(\d+)", (process / "status").read_text())
        return {
            "RSS KiB": int(rss[1]) if rss else 0,
            "descriptors": len(list((process / "fd").iterdir())),
            "threads": len(list((process / "task").iterdir())),
            "processes": len(self.workers()),
            "memfd": sum("memfd" in os.readlink(p) for p in (process / "fd").iterdir()),
        }


def ordered(*faults: str) -> Callable[[Run], None]:
    """The backend does these, one after another."""
    return lambda run: testing.inject(run.order, *faults)


def killed(*at_load: str) -> Callable[[Run], None]:
    """The worker is killed, and the next one fails to load as ordered."""

    def begin(run: Run) -> None:
        if at_load:
            testing.inject(run.order, *at_load)
        run.kill_worker()

    return begin


FAULTS = {
    "killed (SIGKILL)": killed(),
    "crash (SIGSEGV)": ordered("crash"),
    "hang": ordered("hang"),
    "crash while loading": killed("load-crash"),
    "refuses to load": killed("load-error"),
    "leak of 500 MiB": ordered(*["leak"] * 5),
    "wrong shapes": ordered("shape"),
    "error": ordered("error"),
    "bug": ordered("bug"),
    "5 crashes in a row": ordered(*["crash"] * 5),
}


def table(run: Run) -> None:
    """Print what each fault costs."""
    print("| fault | frames lost | s without detections | states | npud's first words |")
    print("|---|---|---|---|---|")
    for name, begin in FAULTS.items():
        seen = len(run.log.read_text())
        lost, silence = run.recover(begin)
        said = run.log.read_text()[seen:].splitlines()
        words = re.sub(r"^npud: (camera cam, frame \d+: )?", "", said[0]) if said else ""
        states = ", ".join(sorted(run.states - {"ok"})) or "ok throughout"
        print(f"| {name} | {lost} | {silence:.2f} | {states} | {words} |", flush=True)


def recoveries(run: Run, count: int) -> list[str]:
    """Recover so many times; print what the daemon holds before and after, return what grew."""
    begun, before = time.monotonic(), run.state()
    for number in range(count):
        run.recover(ordered(IN_TURN[number % len(IN_TURN)]))
        if number + 1 == WARM_UP:
            before = run.state()
    after = run.state()
    print(f"\n{count} recoveries in {time.monotonic() - begun:.0f} s\n")
    print("| held by the daemon | before | after |\n|---|---|---|")
    for key, value in after.items():
        print(f"| {key} | {before[key]} | {value} |")
    grown = [key for key in STEADY if after[key] != before[key]]
    if count > WARM_UP and after["RSS KiB"] > RSS_GROWTH * before["RSS KiB"]:
        grown.append("RSS KiB")
    return grown


def main() -> int:
    """Print the table of faults and the state before and after many recoveries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recoveries", type=int, default=40)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = Run(Path(name))
        try:
            table(run)
            grown = recoveries(run, arguments.recoveries)
        finally:
            run.daemon.terminate()
            run.daemon.wait(10)
    if grown and arguments.check:
        print(f"grown: {', '.join(grown)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
