"""`make demo`: the real daemon on generated scenes, and a real subscriber that shows what comes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from rich.live import Live

import npud
from npud import DetectionsMessage, FrameMessage
from runtime.cli._table import WatchTable
from runtime.draw import draw

OUT = Path("out/demo.jpg")
BEST_OF = 100  # the picture is the one with most sure detections among so many
SURE = 0.6
CTRL_C = b"\x03"


def main() -> int:
    """Run for NPUD_DEMO_SECONDS (15) or until Ctrl-C; returns the exit code."""
    seconds = float(os.environ.get("NPUD_DEMO_SECONDS", "15"))
    with tempfile.TemporaryDirectory(prefix="npud-demo-") as folder, interrupt_key() as interrupted:
        endpoint = f"ipc://{folder}/detections"
        print("demo: npud run --frames   (bundled model, generated camera; its own process)")
        print(f"demo: watching {endpoint} for {seconds:.0f} s; Ctrl-C ends it", flush=True)
        with (Path(folder) / "log").open("w+") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "runtime.cli", "run", "--endpoint", endpoint, "--frames"],
                stderr=log,
                start_new_session=True,
            )
            end = time.monotonic() + seconds
            try:
                count = watch(
                    endpoint,
                    lambda: time.monotonic() > end or daemon.poll() is not None or interrupted(),
                )
            finally:
                daemon.send_signal(signal.SIGTERM)
                code = daemon.wait(timeout=10)
            if code:
                log.seek(0)
                print(log.read(), file=sys.stderr)
                return 1
    if count:
        print(f"demo: {count} messages; picture with the detections: {OUT}")
    return 0


def watch(endpoint: str, ended: Callable[[], bool]) -> int:
    """Show the live table and keep the best picture; returns how many messages came."""
    table = WatchTable(endpoint)
    count = frames = 0
    best = -1
    found: dict[int, DetectionsMessage] = {}
    topics = ("detections", "status", "frames")
    with (
        npud.subscribe(endpoint, topics=topics, heartbeat_timeout_s=None) as subscriber,
        Live(get_renderable=table.render, refresh_per_second=4),
        contextlib.suppress(KeyboardInterrupt),
    ):
        while not ended():
            message = subscriber.recv(timeout_s=0.1)
            if message is None:
                continue
            table.add(message)
            if isinstance(message, DetectionsMessage):
                count += 1
                found = {message.seq: message}
            elif isinstance(message, FrameMessage) and message.seq in found:
                frames += 1
                sure = int((found[message.seq].scores > SURE).sum())
                if sure > best and frames <= BEST_OF:
                    best = sure
                    save(message, found[message.seq])
    if not sys.stdout.isatty():
        print()  # the table ends without a new line there
    return count


def save(frame: FrameMessage, message: DetectionsMessage) -> None:
    """Draw the detections into the picture and write it."""
    pixels = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
    OUT.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(OUT), draw(np.asarray(pixels, np.uint8), message.detections, message.labels))


@contextlib.contextmanager
def interrupt_key() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C was pressed.

    On a terminal it is read as a key and raises no signal, so that make, which would get the
    signal too, does not call the demo failed.
    """
    if not sys.stdin.isatty():
        yield lambda: False
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    raw = termios.tcgetattr(keyboard)
    raw[3] &= ~(termios.ISIG | termios.ICANON | termios.ECHO)
    termios.tcsetattr(keyboard, termios.TCSANOW, raw)
    try:
        yield lambda: bool(
            select.select([keyboard], [], [], 0)[0] and CTRL_C in os.read(keyboard, 64)
        )
    finally:
        termios.tcsetattr(keyboard, termios.TCSANOW, before)


if __name__ == "__main__":
    sys.exit(main())
