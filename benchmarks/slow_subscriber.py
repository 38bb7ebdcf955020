"""Measure whether a subscriber that stands still slows the daemon, or makes it grow.

    python benchmarks/slow_subscriber.py [npud run options, default: --source synthetic:street]

Starts `npud run` with two subscribers, measures the published rate for ten seconds, stops one
subscriber (SIGSTOP) for ten, and lets it go on for ten; prints rate, latency and memory of each
phase, and what either subscriber lost.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import npud

PHASE_S = 10
LISTEN = (
    "import sys, npud\nfor _ in npud.subscribe(sys.argv[1], topics=('detections', 'frames')): pass"
)


def main() -> None:
    """Run the three phases and print a table."""
    options = sys.argv[1:] or ["--source", "street=synthetic:street?seed=7"]
    with tempfile.TemporaryDirectory() as folder:
        endpoint = f"ipc://{folder}/e"
        daemon = subprocess.Popen(
            [sys.executable, "-m", "runtime.cli", "run", "-e", endpoint, "--frames", *options]
        )
        stuck = subprocess.Popen([sys.executable, "-c", LISTEN, endpoint])
        try:
            with npud.subscribe(endpoint, heartbeat_timeout_s=30) as subscriber:
                next(iter(subscriber))
                time.sleep(3)
                print(f"{'phase':<22}{'fps':>8}{'p50 ms':>9}{'p99 ms':>9}{'lost':>6}{'RSS MiB':>9}")
                phase("both read", subscriber, daemon.pid)
                stuck.send_signal(signal.SIGSTOP)
                phase("one stopped (SIGSTOP)", subscriber, daemon.pid)
                stuck.send_signal(signal.SIGCONT)
                phase("both read again", subscriber, daemon.pid)
        finally:
            stuck.kill()
            daemon.terminate()
            daemon.wait(10)


def phase(name: str, subscriber: npud.Subscriber, pid: int) -> None:
    """Receive for PHASE_S and print one row."""
    while subscriber.recv(timeout_s=0) is not None:
        pass
    count, lost, ages, end = 0, 0, [], time.monotonic() + PHASE_S
    while time.monotonic() < end:
        message = subscriber.recv(timeout_s=0.5)
        if isinstance(message, npud.DetectionsMessage):
            count, lost = count + 1, lost + message.lost
            ages.append(message.age_ms())
    ages.sort()
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line) / 1024
    p50, p99 = ages[len(ages) // 2], ages[len(ages) * 99 // 100]
    print(f"{name:<22}{count / PHASE_S:>8.2f}{p50:>9.1f}{p99:>9.1f}{lost:>6}{rss:>9.1f}")


if __name__ == "__main__":
    main()
