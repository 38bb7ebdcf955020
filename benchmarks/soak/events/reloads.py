"""Reloads, good and bad, by command and by signal."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from benchmarks.soak.rig import MODELS
from benchmarks.soak.scene import Failure, Scene
from npud.errors import ControlError
from runtime import testing


def _change(scene: Scene) -> None:
    """Another configuration that is right."""
    rig, chance = scene.rig, scene.random
    what = chance.choice(("model", "threshold", "more cameras", "camera", "nothing"))
    if what == "model":
        rig.model = MODELS[1 - MODELS.index(rig.model)]
    elif what == "threshold":
        rig.threshold = chance.choice((0.2, 0.3, 0.4))
    elif what == "more cameras" and not rig.cameras.pop("extra", None):
        rig.cameras["extra"] = {"url": "synthetic:street?seed=9&size=320x240&fps=10"}
    elif what == "camera":
        seed = chance.randint(1, 99)
        rig.cameras["street"] = {"url": f"synthetic:street?seed={seed}&size=320x240&fps=30"}
    rig.write()


def _taken_over(scene: Scene) -> None:
    rig = scene.rig
    status = rig.ask("status")
    cameras = {camera["camera"] for camera in status["cameras"]}
    if not status["model"].startswith(f"{rig.model}@") or cameras != rig.cameras.keys():
        raise Failure(f"reloaded, but {status['model']} with {sorted(cameras)}")
    scene.wait(
        lambda: all(
            str(scene.seen.get(c, {}).get("model")).startswith(f"{rig.model}@") for c in cameras
        ),
        "the new model did not come into work",
    )


def reload(scene: Scene) -> None:
    """A new model, threshold, camera or nothing is taken over."""
    _change(scene)
    scene.rig.ask("reload")
    _taken_over(scene)


def reload_by_signal(scene: Scene) -> None:
    """A new model, threshold, camera or nothing, by SIGHUP."""
    _change(scene)
    _sighup(scene, "reloaded: ")
    _taken_over(scene)


def _sighup(scene: Scene, said: str) -> None:
    before = scene.rig.log().count(said)
    os.kill(scene.rig.pid, signal.SIGHUP)
    scene.wait(lambda: scene.rig.log().count(said) > before, f"not in its log: {said}")


def _bad(scene: Scene) -> str:
    """A configuration that cannot be taken over."""
    good, folder = scene.rig.text(), scene.rig.folder
    model = scene.rig.files.models[scene.rig.model]
    return scene.random.choice(
        (
            good.replace(str(model), f"{folder}/none.onnx"),
            good.replace(str(model), str(scene.rig.config)),  # no model at all
            good.replace("score_threshold", "score_treshold"),
            good.replace("send_buffer = 400", "send_buffer = 401"),
            good.replace("contexts = 2", 'contexts = "two"'),
            good[: len(good) // 2] + "\x00",
            good + "[camera.]\n",
        )
    )


def _same(scene: Scene, before: set[int]) -> None:
    _taken_over(scene)
    if (after := scene.workers()) != before:
        raise Failure(f"a refused reload changed the workers: {before} -> {after}")


def bad_reload(scene: Scene) -> None:
    """A reload that cannot work is refused, and nothing changes."""
    before = scene.workers()
    scene.rig.write(_bad(scene))
    try:
        if done := scene.rig.ask("reload"):
            raise Failure(f"a bad reload was taken over: {done}")
    except ControlError:
        pass
    finally:
        scene.rig.write()
    _same(scene, before)


def bad_reload_by_signal(scene: Scene) -> None:
    """A reload that cannot work, by SIGHUP."""
    before = scene.workers()
    scene.rig.write(_bad(scene))
    _sighup(scene, "nothing was changed")
    scene.rig.write()
    _same(scene, before)


def crash_while_reloading(scene: Scene) -> None:
    """The new model's worker dies while it loads: the old model stays."""
    before, rig = scene.workers(), scene.rig
    good, model = rig.text(), rig.files.models
    testing.inject(rig.order, "load-crash")
    rig.write(good.replace(str(model[rig.model]), str(model[MODELS[1 - MODELS.index(rig.model)]])))
    try:
        raise Failure(f"a reload whose worker dies was taken over: {rig.ask('reload')}")
    except ControlError:
        pass
    finally:
        rig.write()
    _same(scene, before)


def killed_during_reload(scene: Scene) -> None:
    """A worker is killed while another model is loaded beside it."""
    pids = sorted(scene.workers())
    scene.rig.model = MODELS[1 - MODELS.index(scene.rig.model)]
    scene.rig.write()
    work = threading.Thread(target=_quietly, args=(lambda: scene.rig.ask("reload"),))
    work.start()
    scene.pause(0, 1)
    with suppress(ProcessLookupError):
        os.kill(pids[0], signal.SIGKILL)
    work.join()
    _taken_over(scene)
    scene.replaced(pids)


def _quietly(work: Callable[[], object]) -> None:
    with suppress(OSError, ControlError):
        work()
