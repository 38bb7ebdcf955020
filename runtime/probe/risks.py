"""What a model's file says against it, whatever it finds now: with the command that settles it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from runtime.models import findings
from runtime.models.finding import TARGETS, Finding, Subject

STATIC = (
    "shared_tensor", "scaling", "calibration", "reachable_scores", "score_steps", "half_sigmoid",
    "anchors",
)  # fmt: skip
MANY_SILU = 20
RAW_HEADS = ("dfl", "ltrb", "anchor", "yolox")  # decoded by npud, not in the graph


def risks(subject: Subject, path: Path) -> list[Finding]:
    """Doubtful and wrong things in the file; all but problems are warnings."""
    compare = f"npud ab FLOAT_MODEL {path.name} --images DIR"
    static = [
        dataclasses.replace(finding, command=_sigmoids(path) if "sigmoid" in finding.name else "")
        for finding in findings.check(subject)
        if finding.name in STATIC and finding.level != "ok"
    ]
    own = (_class_sigmoid(subject, path), _softmax(subject, path), _silu(subject, compare))
    return static + [finding for finding in own if finding is not None]


def board_of(subject: Subject) -> str:
    """The chip that the file was made for, or is meant for; "" where that is not known."""
    return subject.info.target or TARGETS.get(subject.target, ("",))[0]


def _sigmoids(path: Path) -> str:
    name = path.stem.removesuffix(".npu-sigmoid")
    suffix = path.suffix
    return f"npud ab {name}.cpu-sigmoid{suffix} {name}.npu-sigmoid{suffix} --images DIR"


def _class_sigmoid(subject: Subject, path: Path) -> Finding | None:
    """A class sigmoid that would run in half floats on RK3588, in a file not yet converted."""
    info, plan = subject.info, subject.plan
    if info.format != "onnx" or board_of(subject) != "rk3588" or plan is None:
        return None
    origin = info.origins.get(info.outputs[plan.levels[0].cls].name)
    in_graph = plan.head in ("flat", "boxes_scores", "end2end")
    if not in_graph and (origin is None or origin.op != "Sigmoid"):
        return None
    text = "the class sigmoid is in the graph: converted to float16 for RK3588, scores 10–40 % low "
    text += "were reported of one board; npud cannot see that without the board"
    remedy = "cut the model with npud prepare, convert both variants, and compare them on the board"
    return Finding("half_sigmoid", "warning", text, remedy, _sigmoids(path))


def _softmax(subject: Subject, path: Path) -> Finding | None:
    count = subject.info.operations.get("Softmax", 0)
    if not count or not board_of(subject) or subject.plan is None:
        return None
    what = "DFL or attention" if subject.plan.head not in RAW_HEADS else "attention"
    text = f"{count} softmax in the graph ({what}): slow on NPUs, and coarse in int8"
    remedy = "cut the head off with npud prepare, which takes the softmax of DFL with it"
    command = f"npud ab {path.name} {path.stem}.cpu-sigmoid{path.suffix} --images DIR"
    return Finding("softmax", "warning", text, remedy, command)


def _silu(subject: Subject, compare: str) -> Finding | None:
    count = subject.info.operations.get("SiLU", 0)
    if count < MANY_SILU or not board_of(subject):
        return None
    text = f"{count} SiLU: their small negative part shares an int8 scale with large values"
    remedy = "measure what int8 costs; hybrid quantization or a ReLU model costs less"
    return Finding("silu", "warning", text, remedy, compare)
