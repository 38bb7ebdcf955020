"""Convert a model with its vendor's toolkit: files out, with a manifest and a record of it all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from npud.errors import ConfigError, ModelError
from runtime import config, models
from runtime.detector import Detector, read_model
from runtime.toolkits import calibration, drobotics, record, rockchip
from runtime.toolkits.calibration import Calibration
from runtime.toolkits.environment import Environment, ensure
from runtime.toolkits.job import Job, Made, Quantization, Setting
from runtime.toolkits.targets import Target

Say = Callable[[str], None]
VENDORS = {"rockchip": rockchip, "drobotics": drobotics}
FEW = 20  # pictures
UNFINISHED = ".part"  # behind the name of the folder, until all is there
FINISHED = ("flat", "end2end", "boxes_scores")  # heads whose values are pixels and scores


@dataclass(frozen=True)
class Order:
    """What the user asks for; pictures: at most so many, evenly spread over `calibration`."""

    source: Path
    target: Target
    quantization: Quantization
    calibration: Path | None
    pictures: int
    output: Path
    settings: Mapping[str, Setting]
    force: bool


@dataclass(frozen=True, eq=False)
class Converted:
    """What was written, and from what."""

    output: Path
    target: Target
    toolkit: str
    made: Made
    calibration: Calibration | None


def open_float(source: Path) -> Detector:
    """The float model on the CPU; raises ModelError for one that toolkits cannot be given."""
    if source.suffix.lower() != ".onnx":
        raise ModelError(f"model {source}: expected an .onnx file, which is what boards convert")
    settings = config.Model(path=str(source))
    detector = Detector(read_model(settings), settings, config.Backend(name="onnx"))
    (picture,) = detector.backend.inputs
    if picture.dtype != "float32" or picture.layout != "nchw":
        detector.close()
        raise ModelError(f"model {source}: expected an input [1,3,H,W] of float32, got {picture}")
    return detector


def plan(order: Order, detector: Detector) -> tuple[Job, Calibration | None]:
    """All that the toolkit will be given, checked; nothing is written or installed yet."""
    output = order.output
    if output.suffix.lower() != order.target.suffix:
        got = output.suffix or "no suffix"
        raise ConfigError(f"-o {output}: expected a file *{order.target.suffix}, got {got}")
    if output.exists() and not order.force:
        raise ConfigError(f"{output}: it exists; give another name with -o, or --force")
    chosen = _calibration(order, detector)
    folder = record.folder_of(output)
    folder = folder.with_name(folder.name + UNFINISHED)
    job = Job(
        source=order.source,
        input_name=detector.backend.inputs[0].name,
        target=order.target.word,
        quantization=order.quantization,
        color=detector.input.color,
        mean=detector.input.mean,
        std=detector.input.std,
        settings=order.settings,
        pictures=None if chosen is None else chosen.pictures,
        output=folder / f"model{order.target.suffix}",
        folder=folder,
    )
    VENDORS[order.target.vendor].check(job)
    return job, chosen


def convert(
    order: Order, job: Job, chosen: Calibration | None, environment: Environment, say: Say
) -> Converted:
    """Run the toolkit and write model and record; raises NpudError, then no model is replaced."""
    temporary = job.output
    if temporary is None:
        raise ConfigError("a conversion needs an output")
    try:
        if job.folder.exists():
            shutil.rmtree(job.folder)
        job.folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{job.folder}: {error.strerror or error}") from None
    made = VENDORS[order.target.vendor].convert(environment, job, say)
    record.write(job.folder, _record(environment, job, temporary, made), job.pictures)
    temporary.replace(order.output)
    folder = record.folder_of(order.output)
    if folder.exists():
        shutil.rmtree(folder)
    job.folder.rename(folder)
    return Converted(order.output, order.target, environment.toolkit.name, made, chosen)


def _calibration(order: Order, detector: Detector) -> Calibration | None:
    if order.quantization == "fp16":
        return None
    if order.calibration is None:
        raise ConfigError(
            "--calibration: expected a folder of pictures like those of the camera, which int8 "
            f"needs; {FEW} to 100 of them"
        )
    return calibration.read(order.calibration, detector.input, order.pictures)


def _record(environment: Environment, job: Job, output: Path, made: Made) -> record.Record:
    folder = job.folder
    return record.Record(
        version=1,
        toolkit=environment.toolkit.name,
        toolkit_version=made.version,
        target=job.target,
        quantization=job.quantization,
        source=os.path.relpath(job.source.absolute(), folder.absolute()),
        source_digest=models.digest(job.source),
        model_digest=models.digest(output),
        input_name=job.input_name,
        color=job.color,
        mean=job.mean,
        std=job.std,
        settings=dict(job.settings),
        quantized=made.quantized,
        quantized_digest=models.digest(folder / made.quantized) if made.quantized else "",
    )


def warnings(order: Order, detector: Detector, chosen: Calibration | None) -> list[str]:
    """What speaks against the model and the pictures before anything is converted."""
    if chosen is None:
        return []
    found = []
    if detector.plan.head in FINISHED:
        found.append(
            f"{order.source}: its head is {detector.plan.head}: 8 bits hold no pixels and scores "
            "in one tensor; cut it first (npud prepare)"
        )
    if (count := len(chosen.pictures)) < FEW:
        found.append(
            f"{count} calibration pictures: ranges hang on single ones; take {FEW} or more, and "
            "look at them with npud calib"
        )
    return found


def install(target: Target, version: str | None, python: str | None, say: Say) -> Environment:
    """The target's toolkit, installed where it is not; raises BackendUnavailable, ConfigError."""
    if target.vendor == "rockchip":
        return ensure(rockchip.toolkit(version or rockchip.DEFAULT), python, say)
    if version is not None:
        raise ConfigError("--toolkit-version: expected none for rdkx5: there is one toolchain")
    return ensure(drobotics.toolkit(), python, say)
