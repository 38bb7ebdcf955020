"""The soak's report in Markdown."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak.resources import Sample, compared, quarter

INTRODUCTION = (
    "`npud run` with two worker processes at full speed (two cores cannot serve all frames), four",
    "cameras (generated, looped video, HTTP MJPEG, pictures of eleven sizes), TCP with keys",
    "(CURVE), pictures published, the last seconds kept; subscribers in processes of their own:",
    "one that misses nothing, one that is stopped at times, one with a wrong key and one without,",
    "one that comes and goes all the time. Every kind of fault comes once before any comes again,",
    "in a random order; the next one when the last one is recovered from. A fault not recovered",
    "from within three minutes, a lost message, a frame that is not accounted for, growth or a",
    "remainder is a failure.",
)


@dataclass
class Happened:
    """One fault: seconds until all was well again, frames dropped meanwhile; or what went wrong."""

    kind: str
    seconds: float
    dropped: int
    failure: str = ""


@dataclass
class Run:
    """All that is reported."""

    command: str
    seed: int
    minutes: float
    commit: str
    meanings: dict[str, str]
    happened: list[Happened] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    totals: dict[str, Any] = field(default_factory=dict)
    cameras: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def markdown(run: Run) -> str:
    """The whole report."""
    verdict = "passed" if not run.failures else "FAILED"
    lines = [
        "# Soak",
        "",
        *INTRODUCTION,
        "",
        f"`{run.command}` on {time.strftime('%Y-%m-%d')}, commit {run.commit}, {_machine()}:",
        f"**{verdict}**. {len(run.happened)} faults in {run.minutes:.1f} minutes, seed {run.seed}.",
        *([""] + [f"- FAILED: {text}" for text in run.failures] if run.failures else []),
        *_faults(run),
        *_resources(run),
        *_cameras(run),
        *_totals(run),
    ]
    return "\n".join(lines) + "\n"


def _faults(run: Run) -> list[str]:
    lines = [
        "",
        "## Faults",
        "",
        "Seconds: from the beginning of the fault, or from its end where it lasts as long as we",
        "wish, until all cameras have given five new frames with detections and the state ok,",
        "which is told once a second. Dropped: frames of all cameras from the beginning of the",
        "fault until then, those that are dropped for want of time in any case included.",
        "",
        "| fault | count | recovered | p50 s | max s | frames dropped, p50 | max |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, meaning in run.meanings.items():
        of_kind = [one for one in run.happened if one.kind == kind]
        if not of_kind:
            continue
        well = [one for one in of_kind if not one.failure]
        seconds, dropped = [o.seconds for o in well] or [0.0], [o.dropped for o in well] or [0]
        lines.append(
            f"| {meaning.rstrip('.')} | {len(of_kind)} | {len(well)} "
            f"| {statistics.median(seconds):.1f} | {max(seconds):.1f} "
            f"| {statistics.median(dropped):.0f} | {max(dropped)} |"
        )
    return lines


def _resources(run: Run) -> list[str]:
    samples = run.samples
    if len(samples) < 5:
        return []
    looks = [samples[round(share * (len(samples) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)]
    lines = [
        "",
        "## What the daemon holds",
        "",
        "| | 0 % | 25 % | 50 % | 75 % | 100 % |",
        "|---|---|---|---|---|---|",
    ]
    for name in samples[0].held:
        lines.append(f"| {name} | " + " | ".join(f"{s.held[name]:g}" for s in looks) + " |")
    lines += [
        "",
        f"Judged by medians over a quarter of the {len(samples)} samples (limits: "
        "`benchmarks/soak/resources.py`):",
        "",
        "| | second quarter | last quarter | limit |",
        "|---|---|---|---|",
    ]
    rows = compared(quarter(samples, 2), quarter(samples, 4), run.minutes)
    lines += [f"| {name} | {a:g} | {b:g} | {limit:g} |" for name, a, b, limit in rows]
    return lines


def _cameras(run: Run) -> list[str]:
    if not run.cameras:
        return []
    lines = [
        "",
        "## Frames",
        "",
        "As counted by npud, and messages as the attentive subscriber received them.",
        "",
        "| camera | captured | published | dropped | not accounted for | received |",
        "|---|---|---|---|---|---|",
    ]
    keys = ("camera", "captured", "published", "dropped", "rest", "received")
    lines += ["| " + " | ".join(str(row[key]) for key in keys) + " |" for row in run.cameras]
    return lines


def _totals(run: Run) -> list[str]:
    lines = ["", "## Totals", ""]
    return lines + [f"- {name}: {value}" for name, value in run.totals.items()]


def commit() -> str:
    """The commit, with a + where files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("diff", "HEAD") else "")


def _machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    names = [line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line]
    cpu = names[0] if names else platform.machine()
    return (
        f"{platform.machine()} ({cpu}), {os.cpu_count()} cores, Python {platform.python_version()}"
    )
