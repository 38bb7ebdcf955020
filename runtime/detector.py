"""The straight line for one frame: preprocess -> infer -> decode -> boxes in source pixels."""

from __future__ import annotations

import copy
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections
from npud.errors import ConfigError, InferenceError, ModelError
from postprocess.decoder import make_decoder
from postprocess.options import Options
from runtime import bundled, config, models
from runtime.backends import name_of, open_backend
from runtime.backends.base import Backend, BackendOptions
from runtime.frame import Frame
from runtime.models import manifest as manifests
from runtime.models.heads import hints_of, plan_with_labels
from runtime.models.info import ModelInfo
from runtime.models.manifest import Manifest
from runtime.preprocess import InputSpec, Letterbox, Preprocessor
from runtime.recording.setup import Setup, tensors_json
from runtime.scenes import Street
from runtime.workers.state import WorkerState

NV12_PAD = 127  # what D-Robotics' model zoo pads with (it says grey, and gets blue)
CANARY = (2, (1280, 720))  # seed and size of the generated street that a mute model is shown
CANARY_FRAME = 90


@dataclass(frozen=True)
class ModelFiles:
    """A model with all that is known about it, before it is loaded."""

    path: Path
    info: ModelInfo
    manifest: Manifest
    name: str  # "<stem>@<digest>", as published
    manifest_digest: str
    folder: Path = Path()  # where the manifest lies, or would lie

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names: the manifest's, else those in the file."""
        return self.manifest.labels if self.manifest.labels is not None else self.info.labels


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds per stage of one frame; wait: for another frame's inference to end.

    cpu: CPU time of the thread that did it, over all stages.
    """

    preprocess: int
    inference: int
    postprocess: int
    wait: int = 0
    cpu: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One frame on its way through the model.

    inputs: the tensor that was fed, empty where a worker process fed it; outputs: as the backend
    gave them, one per TensorSpec of `backend.outputs`; letterbox: how the frame was fitted; found:
    in source pixels.
    """

    inputs: NDArray[Any]
    letterbox: Letterbox
    outputs: list[NDArray[Any]]
    found: Detections
    timing: Timing


def read_model(settings: config.Model) -> ModelFiles:
    """Find and read a model and its manifest; raises ModelError or ConfigError."""
    path = Path(settings.path) if settings.path else bundled.MODEL
    info = models.describe(path)
    wanted = Path(settings.manifest) if settings.manifest else manifests.beside(path)
    manifest, digest = Manifest(), ""
    if settings.manifest or wanted.is_file():
        manifest, digest = manifests.read(wanted), models.digest(wanted)
    own = models.digest(path)
    if manifest.digest not in (None, own):
        raise ModelError(
            f"model {path}: expected a file with digest {manifest.digest}, as {wanted} states, got "
            f"{own}: it is another model's manifest, or `digest` there is out of date"
        )
    manifest = msgspec.structs.replace(manifest, input=settings.input.over(manifest.input))
    return ModelFiles(path, info, manifest, f"{path.stem}@{own}", digest, wanted.parent)


class Detector:
    """One loaded model with its pre- and post-processing.  Not for two threads at once."""

    def __init__(
        self,
        files: ModelFiles,
        settings: config.Model,
        chip: config.Backend,
        core: int | None = None,
    ) -> None:
        self.files = files
        self.doubts = ""  # what the golden sample showed (runtime/golden/canary.py)
        self._context = threading.Lock()  # held while a frame is in the backend
        size = files.manifest.input.size or files.info.input_size
        self.backend = open_backend(chip.name, files.path, backend_options(chip, size, core))
        try:
            self.input = input_spec(files, self.backend)
            self.options = _options(files, settings)
            self._preprocess = Preprocessor(self.input)
            self.plan = plan_with_labels(
                files.info,
                self.backend.outputs,
                self.input.size,
                hints_of(files.manifest),
                len(files.labels),
                self._canary,
            )
            self._decode = make_decoder(self.plan, self.backend.outputs, self.options)
        except ModelError as error:
            self.backend.close()
            raise ModelError(f"model {files.path}: {error}") from None
        except Exception:
            self.backend.close()
            raise

    def detect(self, frame: Frame) -> tuple[Detections, Timing]:
        """Find objects; boxes in source pixels, clipped to the picture.  Raises InferenceError."""
        seen = self.run(frame)
        return seen.found, seen.timing

    def observe(self, frame: Frame) -> Observation:
        """As detect(), and all that lies between, as copies.  Raises InferenceError."""
        seen = self.run(frame, [np.empty(s.shape, s.dtype) for s in self.backend.outputs])
        return replace(seen, inputs=seen.inputs.copy())

    def run(self, frame: Frame, into: Sequence[NDArray[Any]] = ()) -> Observation:
        """As observe(); `inputs` are good until the next call, the outputs are copied to `into`.

        Or not at all, which costs nothing.
        """
        times, cpu = [time.perf_counter_ns()], time.thread_time_ns()
        tensor, letterbox = self._preprocess(frame)
        times.append(time.perf_counter_ns())
        with self._context:
            times.append(time.perf_counter_ns())
            outputs = self.backend.infer([tensor])
            times.append(time.perf_counter_ns())
            try:
                found = letterbox.to_source(self._decode(outputs))
            except ModelError as error:  # it fitted when it was loaded: the backend went wrong
                raise InferenceError(f"model {self.files.path}: {error}") from None
            times.append(time.perf_counter_ns())
            for place, output in zip(into, outputs):
                np.copyto(place, output)
        preprocess, wait, inference, postprocess = (
            (end - begin) // 1000 for begin, end in itertools.pairwise(times)
        )
        spent = (time.thread_time_ns() - cpu) // 1000
        timing = Timing(preprocess, inference, postprocess, wait, spent)
        return Observation(tensor, letterbox, list(into), found, timing)

    @cached_property
    def setup(self) -> Setup:
        """What it takes to decode its outputs again, without it."""
        return Setup(
            model=self.files.name,
            labels=self.files.labels,
            inputs=tensors_json(self.backend.inputs),
            outputs=tensors_json(self.backend.outputs),
            plan=self.plan,
            options=self.options,
            manifest=self.files.manifest_digest,
            manifest_json=msgspec.json.encode(self.files.manifest).decode(),
        )

    def _canary(self) -> list[NDArray[Any]]:
        """The model's outputs for a picture with something in it."""
        pixels, _ = Street(*CANARY).frame(CANARY_FRAME)
        return self.backend.infer([self._preprocess(Frame(pixels))[0]])

    def duplicate(self, core: int | None = None) -> Detector:
        """Make another one on the same weights, for another thread, on the given NPU core."""
        twin = copy.copy(self)
        twin._context = threading.Lock()
        twin.backend = self.backend.duplicate(core)
        twin._preprocess = Preprocessor(self.input)
        twin._decode = make_decoder(self.plan, twin.backend.outputs, self.options)
        return twin

    def partner(self) -> Detector:
        """Make another one on the same context, for another thread.

        One prepares its frame while the other's is in the NPU.  Closing either closes the context.
        """
        twin = copy.copy(self)
        twin._preprocess = Preprocessor(self.input)
        return twin

    def ready(self, timeout_s: float) -> bool:
        """Tell whether it can take a frame: a loaded model always can."""
        return True

    def problem(self) -> str:
        """Why it gives no detections at all: never, in this process."""
        return ""

    def doubt(self) -> str:
        """Why its detections are not to be trusted, or ""."""
        return self.doubts

    def runs_on(self) -> str:
        """The backend's name."""
        return name_of(self.backend)

    def worker(self) -> WorkerState | None:
        """The process that does the work: this one."""
        return None

    def close(self) -> None:
        """Free the model."""
        self.backend.close()


def backend_options(
    chip: config.Backend, size: tuple[int, int] | None, core: int | None
) -> BackendOptions:
    """What a backend is opened with."""
    return BackendOptions(
        input_size=size,
        threads=chip.threads,
        core=core,
        native_layout=chip.native_layout,
        priority=chip.priority,
        core_id=chip.core_id,
        version_check=chip.version_check,
        simulate=chip.simulate,
    )


def input_spec(files: ModelFiles, backend: Backend) -> InputSpec:
    """How a model is fed: manifest and file over the defaults; raises ModelError."""
    if len(backend.inputs) != 1:
        names = ", ".join(map(str, backend.inputs))
        raise ModelError(f"expected one input, a picture, got {names}")
    tensor = backend.inputs[0]
    wanted = files.manifest.input
    layout = tensor.layout or wanted.layout or ("nchw" if tensor.shape[1] == 3 else "nhwc")
    if wanted.layout not in (None, layout):
        raise ModelError(f'input.layout "{wanted.layout}" does not fit its input {tensor}')
    height, width = tensor.shape[2:4] if layout == "nchw" else tensor.shape[1:3]
    if tensor.layout == "nv12":
        height = height * 2 // 3
    if wanted.size and wanted.size != (height, width):
        raise ModelError(f"input.size {list(wanted.size)} does not fit its input {tensor}")
    if tensor.dtype not in (np.float32, np.float16, np.uint8, np.int8):
        raise ModelError(f"expected an input of float32, float16, uint8 or int8, got {tensor}")
    given = {k: v for k, v in msgspec.structs.asdict(wanted).items() if v is not None}
    if tensor.dtype == np.uint8:
        given = _fed_as_bytes(files, tensor.name, given)
    if tensor.dtype == np.int8 and tensor.quantization:
        grid = tensor.quantization  # of the values after mean and std
        given["quantization"] = (float(grid.scale.flat[0]), int(grid.zero_point.flat[0]))
    if tensor.layout == "nv12":
        if given.get("mean") or given["std"] != (1.0, 1.0, 1.0):
            raise ModelError("input.mean and input.std cannot be applied to an NV12 input")
        given = {"pad_value": NV12_PAD} | given | {"color": "nv12"}
    layout = "nhwc" if layout == "nhwc" else "nchw"  # which an NV12 input has not
    given |= {"size": (height, width), "layout": layout, "dtype": tensor.dtype}
    return InputSpec(**given)


def _fed_as_bytes(files: ModelFiles, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A model that takes bytes scales them itself, by numbers that its file may name."""
    own = files.info.pixels.get(name)
    mean = own.mean or (0.0, 0.0, 0.0) if own else ()
    for key, value in (("mean", mean), ("std", own.std)) if own and own.std else ():
        said = given.pop(key, value)
        if tuple(said) != tuple(value):
            raise ModelError(
                f"input.{key}: expected {list(value)}, which the file applies itself, "
                f"got {list(said)}"
            )
    return {"std": (1.0, 1.0, 1.0)} | given


def _options(files: ModelFiles, settings: config.Model) -> Options:
    nms = settings.nms if settings.nms != "auto" else files.manifest.nms or "class"
    try:
        return Options(
            score_threshold=settings.score_threshold,
            iou_threshold=settings.iou_threshold,
            max_detections=settings.max_detections,
            nms=nms,
            multi_label=files.manifest.multi_label,
            sigmoid="none" if settings.sigmoid == "npu" else settings.sigmoid,
            table_size=settings.table_size,
            table_range=settings.table_range,
        )
    except ConfigError as error:
        raise ConfigError(f"model.{error}") from None
