"""The detectors of the daemon: in threads of its own, or in worker processes."""

from __future__ import annotations

import contextlib
import logging

import msgspec

from runtime import config
from runtime.backends import SIMULATORS, entries
from runtime.detector import Detector, ModelFiles
from runtime.engine import AnyDetector, Engine
from runtime.golden import canary
from runtime.platform_info import read_platform
from runtime.workers.process import LANES
from runtime.workers.remote import RemoteDetector
from runtime.workers.supervisor import Limits, Supervisor
from runtime.workers.turn import Turn

log = logging.getLogger("npud")
SIMULATED = frozenset({".onnx", ".npz"})  # run by our own process: nothing there hangs or crashes


def isolated(chip: config.Backend, files: ModelFiles) -> bool:
    """Tell whether inference runs in processes of its own."""
    if chip.isolation == "auto":
        return files.path.suffix.lower() not in SIMULATED and chip.name not in SIMULATORS
    return chip.isolation == "process"


def open_engine(files: ModelFiles, model: config.Model, chip: config.Backend) -> Engine:
    """Load the model for every context, and judge it by its golden sample."""
    contexts, per_process = numbers(chip, files)
    shared = isolated(chip, files)
    with contextlib.ExitStack() as stack:
        if shared:
            detectors = _remote(files, model, chip, contexts, per_process, stack)
        else:
            detectors = _local(files, model, chip, contexts, stack)
        return Engine(files, detectors, contexts, shared, stack.pop_all())
    raise AssertionError  # an ExitStack without callbacks of ours swallows nothing


def _local(
    files: ModelFiles,
    model: config.Model,
    chip: config.Backend,
    contexts: int,
    stack: contextlib.ExitStack,
) -> list[AnyDetector]:
    core = 0 if contexts > 1 else None
    first = Detector(files, model, chip, core)
    stack.callback(first.close)
    detectors = [first]
    for number in range(1, contexts):
        twin = first.duplicate(number)
        stack.callback(twin.close)
        detectors.append(twin)
    log.info("model %s: %s", files.name, first.plan)
    outcome = canary.watch(detectors, model)
    if outcome.text:
        log.log(logging.INFO if outcome.healthy else logging.WARNING, "%s", outcome.text)
    return [*detectors]


def numbers(chip: config.Backend, files: ModelFiles) -> tuple[int, int]:
    """(contexts, contexts per process) as configured, or as suit the backend and the board."""
    entry = entries(chip.name, files.path)[0]
    contexts = chip.contexts
    if contexts == "auto":
        contexts = entry.contexts or read_platform().npu_cores
    return contexts, min(contexts, chip.contexts_per_process or entry.per_process or contexts)


def _remote(
    files: ModelFiles,
    model: config.Model,
    chip: config.Backend,
    contexts: int,
    per_process: int,
    stack: contextlib.ExitStack,
) -> list[AnyDetector]:
    settings = {"model": msgspec.to_builtins(model), "backend": msgspec.to_builtins(chip)}
    limits = Limits(chip.load_deadline_s, chip.deadline_ms / 1000, chip.max_memory_mib)
    detectors: list[AnyDetector] = []
    for first in range(0, contexts, per_process):
        number = min(per_process, contexts - first)
        core = first if contexts > 1 else None
        own = {**settings, "core": core}
        supervisor = Supervisor(own, number, limits, first // per_process)
        turns = [Turn() for _ in range(number)]
        for lane in range(LANES * number):
            detector = RemoteDetector(files, supervisor, lane, turns[lane // LANES])
            stack.callback(detector.close)  # after the worker's end
            detectors.append(detector)
        stack.callback(supervisor.close)
        supervisor.start()
        log.info("worker %d: %d contexts", supervisor.pid, number)
    log.info("model %s: %s", files.name, supervisor.plan)
    return detectors
