"""`make demo`: the real daemon on generated scenes, and a real subscriber that shows what comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from rich.live import Live

import npud
from runtime.cli._table import WatchTable
from runtime.draw import draw

OUT = Path("out/demo.jpg")
BEST_OF = 100  # the picture is the one with most sure detections among so many


def main() -> int:
    """Run for NPUD_DEMO_SECONDS (15) or until Ctrl-C; returns the exit code."""
    seconds = float(os.environ.get("NPUD_DEMO_SECONDS", "15"))
    with tempfile.TemporaryDirectory(prefix="npud-demo-") as folder:
        endpoint = f"ipc://{folder}/detections"
        print("demo: npud run --frames   (bundled model, generated camera; its own process)")
        print(f"demo: watching {endpoint} for {seconds:.0f} s; Ctrl-C ends it")
        with (Path(folder) / "log").open("w+") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "runtime.cli", "run", "--endpoint", endpoint, "--frames"],
                stderr=log,
                start_new_session=True,
            )
            try:
                count = watch(endpoint, seconds, daemon)
            finally:
                daemon.send_signal(signal.SIGTERM)
                code = daemon.wait(timeout=10)
            if code or not count:
                log.seek(0)
                print(log.read(), file=sys.stderr)
                return 1
    print(f"demo: {count} messages; picture with the detections: {OUT}")
    return 0


def watch(endpoint: str, seconds: float, daemon: subprocess.Popen[bytes]) -> int:
    """Show the live table and keep the best picture; returns how many messages came."""
    table = WatchTable(endpoint)
    count = frames = 0
    best = -1
    found: dict[int, npud.DetectionsMessage] = {}
    topics = ("detections", "status", "frames")
    with (
        npud.subscribe(endpoint, topics=topics, heartbeat_timeout_s=None) as subscriber,
        Live(get_renderable=table.render, refresh_per_second=4),
    ):
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and daemon.poll() is None:
                message = subscriber.recv(timeout_s=0.2)
                if message is None:
                    continue
                table.add(message)
                if isinstance(message, npud.DetectionsMessage):
                    count += 1
                    found = {message.seq: message}
                elif isinstance(message, npud.FrameMessage) and message.seq in found:
                    frames += 1
                    detections = found[message.seq]
                    sure = int((detections.scores > 0.6).sum())
                    if sure > best and frames <= BEST_OF:
                        best = sure
                        save(message, detections)
        except KeyboardInterrupt:
            pass
    if not sys.stdout.isatty():
        print()  # the table ends without a new line there
    return count


def save(frame: npud.FrameMessage, message: npud.DetectionsMessage) -> None:
    """Draw the detections into the picture and write it."""
    pixels = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
    OUT.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(OUT), draw(np.asarray(pixels, np.uint8), message.detections, message.labels))


if __name__ == "__main__":
    sys.exit(main())
