"""The soak's stage: the rig at work, what the attentive subscriber sees of it, and recovery."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from benchmarks.soak.camera import HttpCamera
from benchmarks.soak.rig import Listener, Rig
from npud.errors import ControlError
from runtime import testing

GOOD = 5  # messages of each camera, captured after the fault
PATIENCE_S = 180.0
LOOK_S = 0.05


class Failure(Exception):  # noqa: N818 - a finding, not an error of the soak
    """What should not have happened."""


class Scene:
    """A rig, its HTTP camera, its subscribers, and a source of chance."""

    def __init__(self, rig: Rig, http: HttpCamera, seed: int, connects: int) -> None:
        self.rig, self.http, self.connects = rig, http, connects
        self.random = random.Random(seed)
        kinds = ("attentive", "stoppable", "strangers", "restless")
        self.listeners = {kind: Listener(kind, rig) for kind in kinds}
        self.silent_cameras: set[str] = set()  # removed, or not to be waited for

    def close(self) -> None:
        """End the subscribers and the camera."""
        for listener in self.listeners.values():
            listener.close()
        self.http.stop()

    @property
    def seen(self) -> dict[str, dict[str, object]]:
        """The attentive subscriber's cameras."""
        return self.listeners["attentive"].state.get("cameras", {})

    def count(self, name: str) -> int:
        """Of all cameras, as the attentive subscriber counts."""
        return sum(int(str(camera[name])) for camera in self.seen.values())

    def pause(self, least_s: float, most_s: float) -> None:
        """Wait for a random time."""
        time.sleep(self.random.uniform(least_s, most_s))

    def order(self, *faults: str) -> None:
        """Have the backend do these, one after another, and wait until it has."""
        testing.inject(self.rig.order, *faults)
        self.wait(lambda: not self._ordered(), f"the backend did not do {' '.join(faults)}")

    def wait(
        self, until: Callable[[], bool], otherwise: str, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait; raises Failure with `otherwise` when it takes too long."""
        end = time.monotonic() + patience_s
        while not until():
            if time.monotonic() > end:
                raise Failure(f"{otherwise} within {patience_s:g} s")
            self.alive()
            time.sleep(LOOK_S)

    def alive(self) -> None:
        """Raises Failure where the daemon or a subscriber has ended."""
        assert self.rig.daemon
        if self.rig.daemon.poll() is not None:
            raise Failure(f"npud ended with {self.rig.daemon.returncode}")
        for kind, listener in self.listeners.items():
            if listener.process.poll() is not None:
                raise Failure(f"subscriber {kind} ended with {listener.process.returncode}")

    def workers(self) -> set[int]:
        """The workers, when both are ready."""
        self.wait(self._all_ready, "workers not ready")
        return set(self.rig.workers())

    def replaced(self, gone: Iterable[int]) -> None:
        """Wait until none of these is a worker, and both are ready."""
        gone = set(gone)
        self.wait(lambda: self._all_ready() and not gone & set(self.rig.workers()), "not replaced")

    def flows(self) -> None:
        """Wait until every camera gives new detections, and its state is ok."""
        since_ns = time.time_ns()
        first: dict[str, int] = {}

        def good() -> bool:
            expected = self.rig.cameras.keys()
            for name in expected:
                camera = self.seen.get(name)
                if not camera or int(str(camera["captured_ns"])) < since_ns:
                    return False
                first.setdefault(name, int(str(camera["received"])))
                enough = int(str(camera["received"])) >= first[name] + GOOD
                if not enough or camera["state"] != "ok":
                    return False
                if int(str(camera["status_ns"])) < since_ns:
                    return False
            return True

        try:
            self.wait(good, "not all cameras flow")
        except Failure as failure:
            states = {n: (c["state"], c.get("reason")) for n, c in self.seen.items()}
            raise Failure(f"{failure}: {states}") from None

    def _all_ready(self) -> bool:
        with suppress(ControlError):
            workers = self.rig.workers()
            return len(workers) == 2 and all(workers)
        return False

    def _ordered(self) -> bool:
        order = self.rig.order
        return order.exists() or order.with_suffix(".part").exists()
