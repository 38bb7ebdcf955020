"""Comparing: variant b of the configuration is loaded, judged live, and promoted when asked."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import msgspec

from npud.comparison import CompareMessage
from npud.errors import ControlError, ModelError
from runtime.ab.live import Live
from runtime.config import Config, variant_b
from runtime.contexts import open_engine
from runtime.detector import ModelFiles, read_model
from runtime.engine import Engine
from runtime.pipeline import Pipeline

log = logging.getLogger("npud")


def open_sound(files: ModelFiles, settings: Config) -> Engine:
    """Load a model that finds what its golden sample shows; raises ModelError otherwise."""
    engine = open_engine(files, settings.model, settings.backend)
    if doubt := engine.doubt():
        engine.close()
        raise ModelError(f"model {files.path}: {doubt}")
    return engine


def begin(pipeline: Pipeline, settings: Config) -> None:
    """Compare from now on as the configuration says, or no longer."""
    end(pipeline)
    if settings.compare.mode == "off":
        return
    b = variant_b(settings)
    engine = open_engine(read_model(b.model), b.model, b.backend)
    thresholds = (settings.model.score_threshold, b.model.score_threshold)
    labels = pipeline.engine.files.labels
    pipeline.live = Live(settings.compare, engine, thresholds, pipeline.calm, labels)
    log.info("comparing with %s (%s)", engine.files.name, settings.compare.mode)


def end(pipeline: Pipeline) -> None:
    """Compare no longer; the frames that b has are finished."""
    live, pipeline.live = pipeline.live, None
    if live:
        live.close()


def figures(pipeline: Pipeline) -> list[CompareMessage]:
    """What the comparison has shown so far, per camera; raises ControlError where none runs."""
    live = pipeline.live
    if live is None:
        raise ControlError('nothing is compared: state `compare.mode = "shadow"`')
    return live.figures(0, pipeline.engine.files.name)


def write_down(settings: Config, what: str, model: str, shown: list[CompareMessage]) -> None:
    """Add a line of JSON to compare.log, where one is configured."""
    line: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "what": what,
        "model": model,
        "cameras": [message.to_dict() for message in shown],
    }
    log.info("%s: %s", what, model)
    if not settings.compare.log:
        return
    try:
        with Path(settings.compare.log).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        log.error("compare.log: %s: %s", settings.compare.log, error.strerror or error)


def promoted(settings: Config) -> Config:
    """The configuration with b in place of a, and nothing compared."""
    b = variant_b(settings)
    off = msgspec.structs.replace(settings.compare, mode="off")
    contexts = settings.compare.backend.get("contexts", settings.backend.contexts)
    backend = msgspec.structs.replace(b.backend, contexts=contexts)
    return msgspec.structs.replace(b, backend=backend, compare=off)


def deserves(settings: Config, shown: list[CompareMessage]) -> bool:
    """Whether b may be promoted by itself: enough frames of every camera, no loss beyond the limit.

    That is: the interval of the boxes missing in b lies below compare.max_loss per cent.
    """
    wanted, most = settings.compare.promote_after, settings.compare.max_loss
    if not wanted or not shown or settings.compare.mode != "shadow":
        return False
    return all(m.frames >= wanted and m.high.get("only_a", 100.0) <= most for m in shown)
