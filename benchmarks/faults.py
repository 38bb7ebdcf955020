"""Measure what each fault of a worker costs, and that a thousand recoveries leave nothing.

    python -m benchmarks.faults [--recoveries 1000]

Runs `npud run` in worker processes on a generated camera at 30 fps.  Per fault: the message, the
frames lost, the time without detections; then recoveries from crashes and hangs in turn, with the
daemon's memory, descriptors, threads and processes before and after.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import npud
from runtime import testing

CONFIG = """
[backend]
name = "runtime.testing:FaultyBackend"
isolation = "process"
threads = 1
[camera.cam]
url = "synthetic:street?seed=3&size=640x480&fps=30"
[publish]
endpoint = "{endpoint}"
"""
EVERY = ("crash", "hang", "error", "bug", "shape")
IN_TURN = ("crash", "hang", "crash", "crash")


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
        self.subscriber = npud.subscribe(endpoint, heartbeat_timeout_s=30)
        self.last = next(self.subscriber)

    def recover(self, fault: str) -> tuple[int, float]:
        """Inject a fault; (frames that never came, seconds without any) around it."""
        testing.inject(self.order, fault)
        lost, silence, after = 0, 0.0, 0
        while after < 10:
            message = next(self.subscriber)
            gap = (message.published_ns - self.last.published_ns) / 1e9
            missing = message.frame - self.last.frame - 1
            lost += missing
            silence = max(silence, gap)
            self.last = message
            after += not self.order.exists()
        return lost, silence

    def state(self) -> dict[str, int]:
        """What the daemon holds."""
        process = Path(f"/proc/{self.daemon.pid}")
        rss = re.search(r"VmRSS:\s+(\d+)", (process / "status").read_text())
        children = [p.read_text().split() for p in process.glob("task/*/children")]
        return {
            "RSS KiB": int(rss[1]) if rss else 0,
            "descriptors": len(list((process / "fd").iterdir())),
            "threads": len(list((process / "task").iterdir())),
            "processes": sum(map(len, children)),
            "memfd": sum("memfd" in os.readlink(p) for p in (process / "fd").iterdir()),
        }


def main() -> None:
    """Print the table of faults and the state before and after many recoveries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recoveries", type=int, default=40)
    count = parser.parse_args().recoveries
    with tempfile.TemporaryDirectory() as name:
        run = Run(Path(name))
        try:
            print(f"{'fault':<8}{'frames lost':>12}{'silence s':>11}  what npud said")
            for fault in EVERY:
                seen = len(run.log.read_text())
                lost, silence = run.recover(fault)
                lines = [
                    x for x in run.log.read_text()[seen:].splitlines() if x.startswith("npud: cam")
                ]
                print(f"{fault:<8}{lost:>12}{silence:>11.2f}  {lines[0][6:] if lines else ''}")
            before = run.state()
            begin = time.monotonic()
            for number in range(count):
                run.recover(IN_TURN[number % len(IN_TURN)])
            print(f"\n{count} recoveries in {time.monotonic() - begin:.0f} s")
            print(f"{'':<14}{'before':>10}{'after':>10}")
            for key, value in run.state().items():
                print(f"{key:<14}{before[key]:>10}{value:>10}")
        finally:
            run.daemon.terminate()
            run.daemon.wait(10)


if __name__ == "__main__":
    main()
