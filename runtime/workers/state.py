"""WorkerState: what is told of a worker process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker process.

    number: counts from 0 the places for one; pid: 0 while there is none; restarts: how often it was
    replaced; rss_mib: its memory after its last frame; problem: why detections do not come, or "".
    """

    number: int
    pid: int
    restarts: int
    contexts: int
    rss_mib: int
    problem: str
