"""The faults of the soak: one function per kind, which returns when the fault is over.

It raises Failure where npud did what it must not do; that all is well again afterwards is looked
at by the caller.  A function whose name begins with `rare_` runs in long soaks only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from benchmarks.soak.events import outside, reloads, workers
from benchmarks.soak.scene import Failure, Scene

Event = Callable[[Scene], None]


def all_at_once(scene: Scene) -> None:
    """Camera off, subscriber stopped, control socket flooded, and a worker killed."""
    others = (outside.camera_off, outside.subscriber_stopped, outside.control_garbage)
    failures: list[Failure] = []

    def work(event: Event) -> None:
        try:
            event(scene)
        except Failure as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(event,)) for event in others]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    workers.killed(scene)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


EVENTS: tuple[Event, ...] = (
    workers.killed,
    workers.both_killed,
    workers.frozen_worker,
    workers.crash,
    workers.five_crashes,
    workers.hang,
    workers.leak,
    workers.error,
    workers.bug,
    workers.wrong_shape,
    workers.nan,
    workers.crash_while_loading,
    workers.refuses_to_load,
    workers.rare_hang_while_loading,
    outside.camera_off,
    outside.camera_silent,
    outside.camera_garbage,
    outside.damaged_picture,
    outside.subscriber_stopped,
    reloads.reload,
    reloads.reload_by_signal,
    reloads.bad_reload,
    reloads.bad_reload_by_signal,
    reloads.crash_while_reloading,
    reloads.killed_during_reload,
    outside.recording,
    outside.disk_in_the_way,
    outside.control_garbage,
    outside.control_flood,
    outside.endpoint_flood,
    outside.endpoint_held,
    all_at_once,
)
