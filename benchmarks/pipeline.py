"""What the pipeline costs around the camera and the NPU.

    python -m benchmarks.pipeline [--seconds 10]

Runs the daemon on cameras that hand out 1920×1080 frames from memory and an NPU that takes 10 ms
and no CPU (benchmarks/pipeline_parts.py), with a subscriber in this process.  Overhead is all that
lies between the exposure and the sending of the message but the 10 ms; latency is until the
subscriber has it.  CPU time and memory are the daemon's and its workers'.  Then the hand-over of a
frame to another process, through shared memory and pickled.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import npud
from benchmarks import pipeline_parts
from runtime.workers.channel import Channel
from runtime.workers.ring import Ring, view

WARM_UP_S = 2.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Case:
    """One run: cameras of a format at a rate, contexts, where they run, what the model takes."""

    name: str
    cameras: int = 1
    fps: float = 30
    contexts: int = 1
    isolation: str = "process"
    format: str = "bgr"
    color: str = "rgb"


CASES = (
    Case("1 camera, BGR, in this process", isolation="thread"),
    Case("1 camera, BGR"),
    Case("1 camera, NV12", format="nv12"),
    Case("1 camera, NV12 to an NV12 model", format="nv12", color="nv12"),
    Case("4 cameras × 100 fps, 3 contexts, BGR", 4, 100, 3),
    Case("4 cameras × 100 fps, 3 contexts, NV12", 4, 100, 3, format="nv12"),
    Case("4 cameras × 30 fps, 1 context (overload)", 4, 30, 1),
)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    arguments = parser.parse_args()
    columns = "fps|overhead ms p50|×|p99|latency ms p50|p99|max|CPU ms/frame|peak RSS MiB|dropped"
    print(f"| case | {columns.replace('|', ' | ')} |\n|---|{'---|' * (columns.count('|') + 1)}")
    with tempfile.TemporaryDirectory() as name:
        models = {color: pipeline_parts.write_model(Path(name), color) for color in ("rgb", "nv12")}
        base = 0.0  # the first row's overhead, to which the others are compared
        for case in CASES:
            if arguments.only in case.name:
                row = measure(case, models[case.color], Path(name), arguments.seconds)
                base = base or float(row[1])
                row.insert(2, f"{float(row[1]) / base:.1f}")
                print(f"| {case.name} | {' | '.join(row)} |", flush=True)
    hand_over()


def measure(case: Case, model: Path, folder: Path, seconds: float) -> list[str]:
    """Run one case; its row."""
    with (
        daemon(case, model, folder) as (pid, endpoint),
        npud.subscribe(endpoint, heartbeat_timeout_s=30) as subscriber,
    ):
        collect(subscriber, WARM_UP_S)
        before = cpu_s(pid)
        ages, overheads, dropped = collect(subscriber, seconds)
        spent, peak = cpu_s(pid) - before, peak_mib(pid)
    p50, p99, worst = np.percentile(ages, [50, 99, 100])
    over50, over99 = np.percentile(overheads, [50, 99])
    values = [over50, over99, p50, p99, worst, 1000 * spent / len(ages)]
    return [
        f"{len(ages) / seconds:.0f}",
        *(f"{value:.2f}" for value in values),
        f"{peak:.0f}",
        f"{dropped}",
    ]


@contextmanager
def daemon(case: Case, model: Path, folder: Path) -> Iterator[tuple[int, str]]:
    """The daemon of a case, running: (pid, endpoint)."""
    endpoint = f"ipc://{folder}/endpoint"
    path = folder / "config.toml"
    path.write_text(config_of(case, model, endpoint))
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.pipeline_parts", str(path)])
    try:
        yield process.pid, endpoint
    finally:
        process.terminate()
        process.wait(10)


def config_of(case: Case, model: Path, endpoint: str) -> str:
    """The daemon's configuration."""
    lines = [
        f'[model]\npath = "{model}"\n[backend]\nname = "benchmarks.pipeline_parts:Npu"',
        f'contexts = {case.contexts}\nisolation = "{case.isolation}"',
        f'[publish]\nendpoint = "{endpoint}"',
    ]
    for number in range(case.cameras):
        url = f"synthetic:still?fps={case.fps}&format={case.format}"
        lines.append(f'[camera.c{number}]\nurl = "{url}"')
    return "\n".join(lines)


def collect(subscriber: npud.Subscriber, seconds: float) -> tuple[list[float], list[float], int]:
    """(ages on arrival in ms, those when sent less the inference, frames dropped) for some seconds.

    Raises SystemExit where frames come out of order or a message is missing.
    """
    ages, overheads = [], []
    first: dict[str, npud.DetectionsMessage] = {}
    last: dict[str, npud.DetectionsMessage] = {}
    end = time.monotonic() + seconds
    for message in subscriber:
        age = message.age_ms()
        ages.append(age)
        inside = (message.published_ns - message.captured_ns) / 1e6
        overheads.append(inside - message.timing_us["inference"] / 1000)
        camera = message.camera
        before = last.get(camera)
        if before and (message.frame <= before.frame or message.seq != before.seq + 1):
            raise SystemExit(f"{camera}: frame {message.frame} after {before.frame}")
        first.setdefault(camera, message)
        last[camera] = message
        if time.monotonic() > end:
            break
    return ages, overheads, sum(last[c].dropped - first[c].dropped for c in last)


def processes(pid: int) -> list[int]:
    """The daemon and its workers."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(child) for task in tasks for child in task.read_text().split())]


def cpu_s(pid: int) -> float:
    """CPU time used so far."""
    total = 0
    for one in processes(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def peak_mib(pid: int) -> float:
    """Highest resident memory of each, added up; shared frames count in each that maps them."""
    status = [Path(f"/proc/{one}/status").read_text() for one in processes(pid)]
    return sum(int(re.findall(r"VmHWM:\s+(\d+)", text)[0]) for text in status) / 1024


def hand_over(rounds: int = 200) -> None:
    """Print how long a 1080p frame takes to another process and an answer back."""
    pixels = pipeline_parts.picture(0, "bgr")
    shared, pickled = _Shared(pixels), _Pickled(pixels)
    times: dict[str, list[float]] = {"shared memory": [], "pickled": []}
    for _ in range(rounds):
        for name, way in (("shared memory", shared), ("pickled", pickled)):
            begun = time.perf_counter()
            way.pass_one()
            times[name].append(1000 * (time.perf_counter() - begun))
    shared.close()
    pickled.close()
    print("\n| 1080p BGR frame to another process | ms p50 | p99 | × |\n|---|---|---|---|")
    base = statistics.median(times["shared memory"])
    for name, values in times.items():
        p50, p99 = np.percentile(values, [50, 99])
        print(f"| {name} | {p50:.2f} | {p99:.2f} | {p50 / base:.1f} |")


class _Shared:
    """npud's way: copied into a slot once, its place sent over a socket."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels
        self._ring = Ring(pixels.nbytes, 2)
        self._channel, end = Channel.pair()
        self._process = multiprocessing.get_context("fork").Process(
            target=_answer_shared, args=(end, self._ring, pixels.shape), daemon=True
        )
        self._process.start()

    def pass_one(self) -> None:
        slot = self._ring.acquire()
        assert slot
        np.copyto(slot.view(self._pixels.shape), self._pixels)
        self._channel.send({"offset": slot.offset})
        self._channel.receive()
        slot.release()

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _answer_shared(end: object, ring: Ring, shape: tuple[int, ...]) -> None:
    lane = Channel(end)  # type: ignore[arg-type]
    while received := lane.receive():
        pixels = view(ring.memory, received[0]["offset"], shape)
        lane.send({"seen": int(pixels[-1, -1, 0])})


class _Pickled:
    """multiprocessing's way: the array through a pipe."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(
            target=_answer_pickled, args=(theirs,), daemon=True
        )
        self._process.start()

    def pass_one(self) -> None:
        self._ours.send(self._pixels)
        self._ours.recv()

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _answer_pickled(end: Connection) -> None:
    while True:
        pixels = end.recv()
        end.send({"seen": int(pixels[-1, -1, 0])})


if __name__ == "__main__":
    main()
