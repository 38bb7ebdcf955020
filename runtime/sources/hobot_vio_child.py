"""The process that holds a MIPI camera: `python -m runtime.sources.hobot_vio_child CONTROL DATA`.

Descriptors of two socket pairs: the end of CONTROL ends this process even while vendor code hangs,
the end of DATA asks it to give the camera back.  The first message on DATA says which camera, with
the memory for its pictures; each further one asks for the next picture.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import time
from importlib import import_module
from typing import Any

from runtime.workers.channel import Channel, Closed

MODULES = ("hobot_vio.libsrcampy", "hobot_vio_rdkx5.libsrcampy")  # the system image's, PyPI's
VPS = 2  # get_img's module: the scaled output, NV12
PAUSE_S = 0.005  # after a get_img without a picture


class Refused(Exception):  # noqa: N818 - what the daemon is told
    """The camera does not do what was asked."""


def main() -> None:
    """Open the camera and answer until the daemon lets go."""
    control, data = (Channel(socket.socket(fileno=int(number))) for number in sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    control.end_with()
    camera = None
    try:
        received = data.receive()
        if received is None:
            return
        settings, fds = received
        size = settings["size"][0] * settings["size"][1] * 3 // 2
        memory = mmap.mmap(fds[0], size)
        os.close(fds[0])
        try:
            camera = _open(settings)
            data.send({})
            while data.receive() is not None:
                memory[:] = _picture(camera, settings, size)
                data.send({"captured_ns": time.time_ns()})
        except Refused as error:
            data.send({"error": str(error)})
    except Closed:
        pass
    finally:
        if camera is not None:
            camera.close_cam()


def _open(settings: dict[str, Any]) -> Any:
    width, height = settings["size"]
    arguments = [settings["pipe"], settings["index"], settings["fps"], [width], [height]]
    if settings["sensor"]:
        arguments += reversed(settings["sensor"])  # height, width
    camera = _binding().Camera()
    code = camera.open_cam(*arguments)
    if code:
        shown = ", ".join(map(str, arguments))
        raise Refused(f"open_cam({shown}) gave {code}: no camera there, or it has not this size")
    return camera


def _binding() -> Any:
    reasons = []
    for name in MODULES:
        try:
            return import_module(name)
        except ImportError as error:
            reasons.append(f"{name}: {error}")
    raise Refused(
        "expected D-Robotics' hobot_vio, which only the RDK's system image has "
        f"({'; '.join(reasons)})"
    )


def _picture(camera: Any, settings: dict[str, Any], size: int) -> bytes:
    deadline = time.monotonic() + settings["timeout_s"]
    while time.monotonic() < deadline:
        picture = camera.get_img(VPS, *settings["size"])
        if picture is None:
            time.sleep(PAUSE_S)
        elif len(picture) != size:
            raise Refused(f"expected {size} bytes of NV12 from get_img, got {len(picture)}")
        else:
            return bytes(picture)
    raise Refused(f"get_img gave no picture for {settings['timeout_s']:g} s")


if __name__ == "__main__":
    main()
