"""The worker process: hosts a model's contexts, each in a thread that serves one channel.

Started as `python -m runtime.workers.child CONTROL LANE…` (descriptor numbers).  The control
channel carries the settings in and "ready" or "failed" out.  Its end ends the process, even while
vendor code hangs or holds the GIL: the kernel sends SIGIO, whose default action is to terminate.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import signal
import socket
import sys
import threading
import traceback
from typing import Any

import msgspec
import numpy as np

from npud.errors import NpudError
from runtime import config
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.golden import canary
from runtime.golden.verdict import Outcome
from runtime.workers.channel import Channel, Closed
from runtime.workers.messages import Answer, Failure, Request
from runtime.workers.outputs import arrays, size_of
from runtime.workers.process import LANES
from runtime.workers.ring import view

WARM_UP = np.full((64, 64, 3), 114, np.uint8)
PAGE_KIB = mmap.PAGESIZE // 1024


def main() -> None:
    """Load the model, report, and serve until the daemon lets go of the control channel."""
    control, *lanes = (Channel(socket.socket(fileno=int(number))) for number in sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    received = control.receive()
    if received is None:
        return
    control.end_with()
    try:
        detectors, outcome = _load(received[0], len(lanes) // LANES)
    except NpudError as error:
        control.send({"failed": type(error).__name__, "text": str(error)})
        return
    for lane, detector in zip(lanes, detectors):
        threading.Thread(target=_serve, args=(lane, detector), daemon=True).start()
    first = detectors[0]
    ready = {"ready": str(first.plan), "golden": list(outcome), "pid": os.getpid()}
    ready["backend"] = first.runs_on()
    control.send({**ready, "setup": first.setup.encode()})
    threading.Event().wait()


def _load(settings: dict[str, Any], contexts: int) -> tuple[list[Detector], Outcome]:
    model = msgspec.convert(settings["model"], config.Model)
    chip = msgspec.convert(settings["backend"], config.Backend)
    core: int | None = settings["core"]  # of the first context; None where there is only one
    first = Detector(read_model(model), model, chip, core)
    detectors = [first, *(first.duplicate((core or 0) + n) for n in range(1, contexts))]
    for detector in detectors:
        detector.detect(Frame(WARM_UP))  # the first is slow, and its failure is the model's
    outcome = canary.watch(detectors, model)
    return [lane for one in detectors for lane in (one, one.partner())], outcome


def _serve(lane: Channel, detector: Detector) -> None:
    """Answer the requests of one channel, in order."""
    rings: dict[str, mmap.mmap] = {}  # by camera
    kept: mmap.mmap | None = None  # where outputs go that somebody wants to see
    decode = msgspec.msgpack.Decoder(Request).decode
    while True:
        try:
            received = lane.receive(decode=decode)
            if received is None:
                continue
            request: Request = received[0]
            fds = received[1]
            if request.ring_bytes:  # the camera's frames lie in another ring now
                fd = fds.pop(0)
                rings[request.camera] = mmap.mmap(fd, request.ring_bytes, prot=mmap.PROT_READ)
                os.close(fd)
            if fds:
                kept = mmap.mmap(fds[0], size_of(detector.setup.specs))
                os.close(fds[0])
            lane.send(_answer(detector, request, rings, kept))
        except Closed:
            return


def _answer(
    detector: Detector,
    request: Request,
    rings: dict[str, mmap.mmap],
    kept: mmap.mmap | None,
) -> Answer | Failure:
    try:
        pixels = view(rings[request.camera], request.offset, request.shape)
        frame = Frame(
            pixels,
            format=request.format,
            yuv_range=request.yuv_range,
            yuv_matrix=request.yuv_matrix,
        )
        into = arrays(kept, detector.setup.specs) if kept and request.observe else ()
        seen = detector.run(frame, into)
    except Exception as error:
        if not isinstance(error, NpudError):
            with contextlib.suppress(OSError):  # a log on a full disk
                traceback.print_exc()  # a bug, and it happened here: the daemon sees one line
        return Failure(request.id, type(error).__name__, str(error))
    return Answer.of(request.id, seen, rss_kib())


def rss_kib() -> int:
    """Resident memory of this process."""
    return int(os.pread(_statm(), 128, 0).split()[1]) * PAGE_KIB


@functools.cache
def _statm() -> int:
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


if __name__ == "__main__":
    main()
