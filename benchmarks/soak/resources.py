"""What the daemon holds, sampled, and whether it grows."""

from __future__ import annotations

import os
import re
import statistics
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PLATEAU_MIB = 45  # the allocator's, after the first recoveries: `python -m benchmarks.faults`
SETTLED_MINUTES = 20  # in a run this long the plateau is reached before the second quarter

# What the median of the last quarter may have more than that of the second.  A leak of one per
# fault would be dozens.  Counts differ by what a fault in progress at the time of the sample
# changes, and by the fifth camera that some reloads add.  Memory: a tenth for fragmentation.
COUNTS = {"descriptors": 6, "threads": 4, "processes": 1, "memfds": 3}
MEMORY_SHARE, MEMORY_MIB = 0.10, 8.0
MEMORY = ("RssAnon MiB", "RssShmem MiB")


@dataclass(frozen=True)
class Sample:
    """One look: seconds since the beginning, and figures by name."""

    at_s: float
    held: dict[str, float]


class Sampler(threading.Thread):
    """Samples a process and its children every so often."""

    def __init__(self, pid: int, every_s: float) -> None:
        super().__init__(daemon=True)
        self._process, self._every_s = Path(f"/proc/{pid}"), every_s
        self._ended = threading.Event()
        self._begun = self._last = time.monotonic()
        self._cpu_s = _cpu_s(self._process)
        self.samples: list[Sample] = []

    def run(self) -> None:
        """Sample until stop()."""
        while not self._ended.wait(self._every_s):
            with suppress(OSError):
                self.samples.append(self._sample())

    def stop(self) -> None:
        """End sampling."""
        self._ended.set()
        self.join()

    def _sample(self) -> Sample:
        now, cpu_s = time.monotonic(), _cpu_s(self._process)
        busy = 100 * (cpu_s - self._cpu_s) / (now - self._last)
        self._last, self._cpu_s = now, cpu_s
        children = _children(self._process)
        held = {
            "RssAnon MiB": _mib(self._process, "RssAnon"),
            "RssShmem MiB": _mib(self._process, "RssShmem"),
            "workers' RssAnon MiB": sum(_mib(child, "RssAnon") for child in children),
            "descriptors": len(os.listdir(self._process / "fd")),
            "threads": len(os.listdir(self._process / "task")),
            "processes": len(children),
            "memfds": _memfds(self._process),
            "CPU % of one core": busy,
        }
        return Sample(now - self._begun, {k: round(float(v), 1) for k, v in held.items()})


def quarter(samples: list[Sample], number: int) -> list[Sample]:
    """Those of quarter 1 to 4 of the time."""
    end = samples[-1].at_s if samples else 0.0
    return [s for s in samples if (number - 1) * end / 4 < s.at_s <= number * end / 4]


def median(samples: list[Sample], name: str) -> float:
    """Of one figure."""
    return statistics.median(sample.held[name] for sample in samples)


def grown(samples: list[Sample], minutes: float) -> list[str]:
    """What is not flat: the last quarter against the second."""
    second, last = quarter(samples, 2), quarter(samples, 4)
    if not second or not last:
        return ["too few samples to tell"]
    found = []
    for name, before, after, limit in compared(second, last, minutes):
        if after > limit:
            found.append(f"{name}: {before:g} in the second quarter, {after:g} in the last")
    return found


def compared(
    second: list[Sample], last: list[Sample], minutes: float
) -> list[tuple[str, float, float, float]]:
    """(figure, median of the second quarter, of the last, the most it may be)."""
    plateau = 0 if minutes >= SETTLED_MINUTES else PLATEAU_MIB
    rows = []
    for name in (*MEMORY, *COUNTS):
        before, after = median(second, name), median(last, name)
        more = COUNTS.get(name, MEMORY_SHARE * before + MEMORY_MIB + plateau)
        rows.append((name, before, after, round(before + more, 1)))
    return rows


def _children(process: Path) -> list[Path]:
    found: list[Path] = []
    for task in process.glob("task/*/children"):
        with suppress(OSError):
            found += [Path(f"/proc/{pid}") for pid in task.read_text().split()]
    return found


def _mib(process: Path, name: str) -> float:
    with suppress(OSError):
        found = re.search(rf"{name}:\s+(\d+)", (process / "status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def _memfds(process: Path) -> int:
    count = 0
    for fd in (process / "fd").iterdir():
        with suppress(OSError):
            count += "memfd" in os.readlink(fd)
    return count


def _cpu_s(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
