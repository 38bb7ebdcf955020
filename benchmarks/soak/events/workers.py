"""Faults of workers: killed, stopped, or as the backend is ordered."""

from __future__ import annotations

import os
import signal

from benchmarks.soak.scene import Scene
from runtime import testing


def killed(scene: Scene) -> None:
    """A worker is killed (SIGKILL)."""
    pid = scene.random.choice(sorted(scene.workers()))
    os.kill(pid, signal.SIGKILL)
    scene.replaced([pid])


def both_killed(scene: Scene) -> None:
    """Both workers are killed at the same time."""
    pids = scene.workers()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    scene.replaced(pids)


def frozen_worker(scene: Scene) -> None:
    """A worker is stopped (SIGSTOP): not even its threads run."""
    pid = scene.random.choice(sorted(scene.workers()))
    os.kill(pid, signal.SIGSTOP)
    scene.replaced([pid])


def _one_replaced(scene: Scene, *faults: str) -> None:
    before = scene.workers()
    scene.order(*faults)
    scene.wait(lambda: set(scene.rig.workers()) != before, "no worker was replaced")
    scene.workers()


def crash(scene: Scene) -> None:
    """A worker dies of a segmentation fault."""
    _one_replaced(scene, "crash")


def five_crashes(scene: Scene) -> None:
    """Five crashes in a row."""
    _one_replaced(scene, *["crash"] * 5)


def hang(scene: Scene) -> None:
    """An inference does not return."""
    _one_replaced(scene, "hang")


def leak(scene: Scene) -> None:
    """Workers keep 500 MiB; the limit of one is 320."""
    _one_replaced(scene, *["leak"] * 5)


def error(scene: Scene) -> None:
    """Inference fails, several times."""
    scene.order(*["error"] * scene.random.randint(1, 6))


def bug(scene: Scene) -> None:
    """Inference raises what nobody expects."""
    scene.order("bug")


def wrong_shape(scene: Scene) -> None:
    """Outputs have another shape."""
    scene.order("shape")


def nan(scene: Scene) -> None:
    """Outputs are nothing but NaN."""
    scene.order("nan")


def _killed_and(scene: Scene, fault: str) -> None:
    testing.inject(scene.rig.order, fault)
    killed(scene)
    scene.wait(lambda: not scene.rig.order.exists(), f"no worker did {fault}")
    scene.workers()


def crash_while_loading(scene: Scene) -> None:
    """A worker is killed, and the next one dies while it loads the model."""
    _killed_and(scene, "load-crash")


def refuses_to_load(scene: Scene) -> None:
    """A worker is killed, and the next one refuses the model."""
    _killed_and(scene, "load-error")


def rare_hang_while_loading(scene: Scene) -> None:
    """A worker is killed, and the next one never finishes loading."""
    _killed_and(scene, "load-hang")
