"""The detectors of the daemon: in threads of its own, or in worker processes."""

from __future__ import annotations

import contextlib
import logging

import msgspec

from runtime import config
from runtime.detector import Detector, ModelFiles
from runtime.pipeline import AnyDetector
from runtime.workers.remote import RemoteDetector
from runtime.workers.supervisor import Limits, Supervisor

log = logging.getLogger("npud")
SIMULATED = frozenset({".onnx", ".npz"})  # run by our own process: nothing there hangs or crashes


def isolated(chip: config.Backend, files: ModelFiles) -> bool:
    """Tell whether inference runs in processes of its own."""
    if chip.isolation == "auto":
        return files.path.suffix.lower() not in SIMULATED
    return chip.isolation == "process"


def open_detectors(
    files: ModelFiles, model: config.Model, chip: config.Backend, stack: contextlib.ExitStack
) -> list[AnyDetector]:
    """Load the model for every context; `stack` closes what was opened."""
    if isolated(chip, files):
        return _remote(files, model, chip, stack)
    core = 0 if chip.contexts > 1 else None
    first = Detector(files, model, chip, core)
    stack.callback(first.close)
    detectors: list[AnyDetector] = [first]
    for number in range(1, chip.contexts):
        twin = first.duplicate(number)
        stack.callback(twin.close)
        detectors.append(twin)
    log.info("model %s: %s", files.name, first.plan)
    return detectors


def _remote(
    files: ModelFiles, model: config.Model, chip: config.Backend, stack: contextlib.ExitStack
) -> list[AnyDetector]:
    settings = {"model": msgspec.to_builtins(model), "backend": msgspec.to_builtins(chip)}
    limits = Limits(chip.load_deadline_s, chip.deadline_ms / 1000, chip.max_memory_mib)
    per_process = min(chip.contexts, chip.contexts_per_process or chip.contexts)
    detectors: list[AnyDetector] = []
    while len(detectors) < chip.contexts:
        lanes = min(per_process, chip.contexts - len(detectors))
        core = len(detectors) if chip.contexts > 1 else None
        supervisor = Supervisor({**settings, "core": core}, lanes, limits)
        stack.callback(supervisor.close)
        supervisor.start()
        log.info("worker %d: %d contexts", supervisor.pid, lanes)
        detectors += [RemoteDetector(files, supervisor, lane) for lane in range(lanes)]
    log.info("model %s: %s", files.name, supervisor.plan)
    return detectors
