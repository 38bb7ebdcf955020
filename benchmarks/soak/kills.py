"""kill -9 at any moment: nothing is left that keeps the next npud from starting."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress

import npud
from benchmarks.soak.listener import friend
from benchmarks.soak.rig import Files, Rig
from benchmarks.soak.scene import PATIENCE_S, Failure
from npud.errors import ControlError

STARTING_S = 4.0  # kills while it starts come within this
CAMERAS = {
    "a": {"url": "synthetic:street?seed=3&size=320x240&fps=20"},
    "b": {"url": "synthetic:street?seed=4&size=320x240&fps=20"},
}


def killed_and_started(files: Files, count: int, seed: int) -> list[float]:
    """Kill so many daemons, half of them while they start; seconds until the others published.

    Every other one listens on TCP with keys, the rest on a Unix socket.  Raises Failure.
    """
    chance = random.Random(seed)
    rigs = [Rig(files, f"kills-{kind}", tcp=kind == "tcp") for kind in ("tcp", "ipc")]
    came_up: list[float] = []
    try:
        for number in range(count):
            rig = rigs[number // 2 % 2]
            rig.cameras = dict(CAMERAS)
            rig.start()
            if number % 2:
                came_up.append(_comes_up(rig))
                threading.Thread(target=_record, args=(rig,), daemon=True).start()
            time.sleep(chance.uniform(0, 1 if number % 2 else STARTING_S))
            if rig.daemon and rig.daemon.poll() is not None:
                raise Failure(f"npud ended by itself: {rig.log()[-500:]}")
            rig.kill()
            _workers_end(rig)
        for rig in rigs:
            came_up.append(_last(rig))
    finally:
        for rig in rigs:
            rig.kill()
    return came_up


def _last(rig: Rig) -> float:
    """Start once more; and end it as one should: nothing is left then."""
    rig.cameras = dict(CAMERAS)
    rig.start()
    seconds = _comes_up(rig)
    code, _ = rig.stop(PATIENCE_S)
    if code or rig.remains():
        raise Failure(f"after the kills: exit code {code}, left: {rig.remains()}")
    return seconds


def _comes_up(rig: Rig) -> float:
    """Seconds until detections come from it."""
    begun = time.monotonic()
    keys = rig.files.keys if rig.tcp else None
    with npud.subscribe(rig.endpoint, heartbeat_timeout_s=None, **friend(keys)) as subscriber:
        while time.monotonic() < begun + PATIENCE_S:
            if subscriber.recv(0.5) is not None:
                return time.monotonic() - begun
            if rig.daemon and rig.daemon.poll() is not None:
                break
    raise Failure(f"after a kill -9 the next one does not come up: {rig.log()[-500:]}")


def _workers_end(rig: Rig) -> None:
    end = time.monotonic() + PATIENCE_S
    while left := rig.processes():
        if time.monotonic() > end:
            raise Failure(f"after a kill -9 these processes are left: {left}")
        time.sleep(0.05)


def _record(rig: Rig) -> None:
    with suppress(ControlError):
        rig.ask("record", seconds=3)
