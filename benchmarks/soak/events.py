"""The faults of the soak: one function per kind, which returns when the fault is over.

It raises Failure where npud did what it must not do; that all is well again afterwards is looked
at by the caller.  A function whose name begins with `rare_` runs in long soaks only.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from benchmarks.soak.rig import MODELS
from benchmarks.soak.scene import Failure, Scene
from npud.errors import ControlError
from runtime import testing

Event = Callable[[Scene], None]
HELD = 300  # connections that are made and left silent


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


def camera_off(scene: Scene) -> None:
    """The HTTP camera's port and connections are closed for some seconds."""
    scene.http.stop()
    scene.pause(1, 4)
    scene.http.start()


def camera_silent(scene: Scene) -> None:
    """The HTTP camera sends nothing for longer than its timeout, on an open connection."""
    scene.http.mode = "silent"
    scene.pause(6, 8)
    scene.http.mode = "good"


def camera_garbage(scene: Scene) -> None:
    """The HTTP camera sends rubbish in place of JPEGs."""
    scene.http.mode = "garbage"
    scene.pause(2, 7)
    scene.http.mode = "good"


def damaged_picture(scene: Scene) -> None:
    """One of the picture files is cut short for two rounds."""
    path = scene.rig.files.images / "07.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    scene.pause(2, 3)
    path.write_bytes(whole)


def subscriber_stopped(scene: Scene) -> None:
    """A subscriber that wants pictures is stopped for some seconds."""
    stoppable = scene.listeners["stoppable"]
    stoppable.pause(True)
    scene.pause(4, 10)
    stoppable.pause(False)
    before = stoppable.state.get("received", 0)
    scene.wait(lambda: stoppable.state.get("received", 0) > before + 20, "it hears nothing again")


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


def recording(scene: Scene) -> None:
    """The last seconds are written, into a folder that somebody has removed."""
    shutil.rmtree(scene.rig.folder / "recordings", ignore_errors=True)
    done = scene.rig.ask("record", seconds=3)
    if not os.path.exists(done["path"]):
        raise Failure(f"not written: {done}")


def disk_in_the_way(scene: Scene) -> None:
    """The last seconds cannot be written."""
    folder = scene.rig.folder / "recordings"
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("no folder")
    try:
        raise Failure(f"written, but where? {scene.rig.ask('record', seconds=3)}")
    except ControlError:
        pass
    finally:
        folder.unlink()


def control_garbage(scene: Scene) -> None:
    """Rubbish, half lines and long lines on the control socket."""
    for _ in range(100):
        with socket.socket(socket.AF_UNIX) as one, suppress(OSError):
            one.connect(str(scene.rig.control))
            one.sendall(scene.random.randbytes(scene.random.choice((1, 50, 5000))))
            if scene.random.random() < 0.5:
                one.sendall(b"\n")
    scene.rig.ask("status")


def control_flood(scene: Scene) -> None:
    """The control socket is flooded with connects; one in ten stays, with half a line."""
    kept = []
    for number in range(scene.connects):
        one = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            one.connect(str(scene.rig.control))
            if number % 10:
                one.close()
            else:
                one.send(b'{"comm')
                kept.append(one)
        if number % 1000 == 0:
            scene.rig.ask("status")
    scene.rig.ask("status")
    for one in kept:
        one.close()


def endpoint_flood(scene: Scene) -> None:
    """The endpoint is flooded with connects; a third with rubbish, a third cut off."""
    host, port = scene.rig.endpoint.removeprefix("tcp://").split(":")
    for number in range(scene.connects):
        with socket.create_connection((host, int(port)), 60) as one, suppress(OSError):
            if number % 3 == 1:
                one.sendall(scene.random.randbytes(200))
            elif number % 3 == 2:
                linger = b"\1\0\0\0\0\0\0\0"  # close() resets the connection
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def endpoint_held(scene: Scene) -> None:
    """300 connections to the endpoint that say nothing."""
    host, port = scene.rig.endpoint.removeprefix("tcp://").split(":")
    held = [socket.create_connection((host, int(port)), 60) for _ in range(HELD)]
    scene.pause(2, 4)
    for one in held:
        one.close()


def all_at_once(scene: Scene) -> None:
    """Camera off, subscriber stopped, control socket flooded, and a worker killed."""
    others = (camera_off, subscriber_stopped, control_garbage)
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
    killed(scene)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


EVENTS: tuple[Event, ...] = (
    killed, both_killed, frozen_worker, crash, five_crashes, hang, leak, error, bug, wrong_shape,
    nan, crash_while_loading, refuses_to_load, rare_hang_while_loading, camera_off, camera_silent,
    camera_garbage, damaged_picture, subscriber_stopped, reload, reload_by_signal, bad_reload,
    bad_reload_by_signal, crash_while_reloading, killed_during_reload, recording, disk_in_the_way,
    control_garbage, control_flood, endpoint_flood, endpoint_held, all_at_once,
)  # fmt: skip
