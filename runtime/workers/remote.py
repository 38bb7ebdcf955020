"""RemoteDetector: a Detector whose work is done by a worker process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import count

import msgspec
import numpy as np

from npud.detections import Detections
from npud.errors import InferenceError
from runtime.detector import ModelFiles, Observation, Timing
from runtime.frame import Frame
from runtime.recording.messages import Fit
from runtime.recording.setup import Setup
from runtime.workers.channel import Channel, Closed
from runtime.workers.messages import Answer, Failure, Request
from runtime.workers.outputs import Outputs
from runtime.workers.process import WorkerProcess, error_of, remaining
from runtime.workers.ring import Ring
from runtime.workers.state import WorkerState
from runtime.workers.supervisor import Supervisor, stopped
from runtime.workers.turn import Turn


@dataclass
class _Known:
    """What a lane's worker has been given: the cameras' rings, and a place for its outputs."""

    worker: WorkerProcess | None = None
    rings: dict[str, int] = field(default_factory=dict)
    outputs: Outputs | None = None

    def share_outputs(self) -> tuple[int, ...]:
        """The descriptor that the worker needs before it can show its outputs, the first time."""
        if self.outputs is not None or self.worker is None or self.worker.setup is None:
            return ()
        self.outputs = Outputs(self.worker.setup.specs)
        return (self.outputs.fd,)

    def close(self) -> None:
        """Give up the memory."""
        if self.outputs:
            self.outputs.close()


class RemoteDetector:
    """One lane of a worker.  Not for two threads at once."""

    def __init__(self, files: ModelFiles, supervisor: Supervisor, lane: int, turn: Turn) -> None:
        self.files = files
        self._supervisor, self._lane, self._turn = supervisor, lane, turn
        self._ids = count()
        self._known = _Known()
        self._decode = msgspec.msgpack.Decoder(Answer | Failure).decode

    def ready(self, timeout_s: float) -> bool:
        """Wait until a frame could be given to the worker, and it is this lane's turn."""
        end = time.monotonic() + timeout_s
        return self._supervisor.ready(timeout_s) and self._turn.take(self, remaining(end))

    def problem(self) -> str:
        """Why detections have not come for some time, or ""."""
        return self._supervisor.problem()

    def doubt(self) -> str:
        """Why detections are not to be trusted, or ""."""
        return self._supervisor.doubt()

    def runs_on(self) -> str:
        """The name of the worker's backend."""
        return self._supervisor.backend

    def worker(self) -> WorkerState:
        """The process that does the work; all lanes of it tell the same."""
        return self._supervisor.state()

    @property
    def setup(self) -> Setup:
        """What it takes to decode its outputs; raises InferenceError where no worker has come."""
        worker = self._known.worker
        if worker is None or worker.setup is None:
            raise stopped()
        return worker.setup

    def detect(self, frame: Frame) -> tuple[Detections, Timing]:
        """Have the worker find objects; as Detector.detect, and raises what observe() raises."""
        _, found, timing = self._work(frame, observe=False)
        return found, timing

    def observe(self, frame: Frame) -> Observation:
        """As Detector.observe; `inputs` is empty, the outputs lie in memory shared with the worker.

        Raises InferenceError where the worker dies or does not answer within the deadline, in which
        case it is killed and another one started, and what the worker itself raised.
        """
        fit, found, timing = self._work(frame, observe=True)
        outputs = self._known.outputs
        assert outputs is not None  # noqa: S101 - for the type checker
        nothing = np.empty(0, np.uint8)
        return Observation(nothing, fit.letterbox(), outputs.arrays(), found, timing)

    def _work(self, frame: Frame, *, observe: bool) -> tuple[Fit, Detections, Timing]:
        if frame.slot is None:  # taken before this engine came: rare
            try:
                frame = _placed(frame)
            except OSError as error:
                raise InferenceError(f"no shared memory for a frame: {error.strerror}") from None
            try:
                return self._work(frame, observe=observe)
            finally:
                _forget(frame)
        worker = self._supervisor.enter(0)
        if worker is None:
            raise stopped()
        timing = None
        self._turn.sent()
        try:
            answer = self._ask(worker, frame, observe)
            if isinstance(answer, Answer):
                found, timing = answer.found()
        except (Closed, ValueError, OSError) as error:
            reason = self._supervisor.failed(worker, _reason(worker, error))
            raise InferenceError(reason) from None
        finally:
            self._turn.answered(timing)
            self._supervisor.leave(worker)
        if isinstance(answer, Failure):
            self._supervisor.frame_failed(answer.text)
            raise error_of(answer.error, answer.text)
        assert timing is not None  # noqa: S101 - for the type checker
        worker.rss_kib = answer.rss_kib
        self._supervisor.succeeded(worker)
        return answer.fit, found, timing

    def close(self) -> None:
        """Give up the memory that its worker has written outputs into."""
        self._known.close()
        self._known = _Known()

    def _ask(self, worker: WorkerProcess, frame: Frame, observe: bool) -> Answer | Failure:
        """Send a frame, and wait for the answer to it and no other."""
        slot = frame.slot
        assert slot is not None  # noqa: S101 - for the type checker
        lane: Channel = worker.lanes[self._lane]
        number, ring = next(self._ids), slot.ring
        if self._known.worker is not worker:
            self._known.close()
            self._known = _Known(worker)
        fds: tuple[int, ...] = ()
        ring_bytes = 0
        if self._known.rings.get(frame.camera) != ring.number:
            ring_bytes, fds = len(ring.memory), (ring.fd,)
            self._known.rings[frame.camera] = ring.number
        if observe:
            fds += self._known.share_outputs()
        request = Request(
            number,
            frame.camera,
            slot.offset,
            frame.pixels.shape,
            frame.format,
            frame.yuv_range,
            frame.yuv_matrix,
            ring_bytes,
            observe,
        )
        deadline = time.monotonic() + self._supervisor.limits.frame_s
        lane.send(request, fds)
        received = lane.receive(remaining(deadline), self._decode)
        if received is None:
            raise TimeoutError
        answer: Answer | Failure = received[0]
        if answer.id != number:
            raise ValueError(f"expected the answer to {number}, got one to {answer.id}")
        return answer


def _placed(frame: Frame) -> Frame:
    """A copy of the frame in shared memory of its own."""
    slot = Ring(frame.pixels.nbytes, 1).acquire()
    assert slot is not None  # noqa: S101 - the ring is new
    pixels = slot.view(frame.pixels.shape)
    np.copyto(pixels, frame.pixels)
    return replace(frame, pixels=pixels, slot=slot)


def _forget(frame: Frame) -> None:
    """Give up the memory of a placed frame."""
    if frame.slot is not None:
        frame.slot.release()
        frame.slot.ring.close()


def _reason(worker: WorkerProcess, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"worker {worker.pid}: no answer within the deadline; it was killed"
    if isinstance(error, Closed):
        return f"worker {worker.pid}: {worker.end()}"
    if isinstance(error, OSError):  # no memory or descriptors for what is shared with it
        return f"worker {worker.pid}: {error.strerror or error}; it was killed"
    return f"worker {worker.pid}: answered nonsense ({error}); it was killed"
