"""Faults from outside: cameras, subscribers, the disk, hostile clients."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import suppress

from benchmarks.soak.scene import Failure, Scene
from npud.errors import ControlError

HELD = 300  # connections that are made and left silent


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
