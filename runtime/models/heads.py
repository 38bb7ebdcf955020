"""Which head a model file has, decided from the file and its manifest alone, without running it."""

from __future__ import annotations

import dataclasses

from npud.errors import ModelError
from postprocess.detect_head import recognise
from postprocess.plan import HeadPlan, Hints
from runtime.models import evidence
from runtime.models.info import ModelInfo, picture_size

BY_DEFINITION = frozenset({"flat", "end2end", "boxes_scores"})  # heads of probabilities
STATE_IT = 'state `activation = "logits"` or `activation = "probabilities"` in the manifest'


def plan_of(info: ModelInfo, size: tuple[int, int] | None, hints: Hints) -> HeadPlan:
    """The head of the outputs; `size` (height, width) replaces the input's where that is dynamic.

    Activation: the hint, else the file's graph and quantization grids.  Raises ModelError where no
    known head fits, several do, or nothing tells logits from probabilities.
    """
    size = _input_size(info, size)
    if hints.activation is None:
        hints = _with_activation(info, size, hints)
    return recognise(info.outputs, size, hints)


def _input_size(info: ModelInfo, size: tuple[int, int] | None) -> tuple[int, int]:
    spec = info.picture
    found = picture_size(spec) if spec else None
    if found and all(found):
        return found
    size = size or info.input_size
    if size is None:
        raise ModelError("expected an input with a fixed size, [1,3,H,W] or [1,H,W,3], got none")
    return size


def _with_activation(info: ModelInfo, size: tuple[int, int], hints: Hints) -> Hints:
    roles = recognise(info.outputs, size, dataclasses.replace(hints, activation="probabilities"))
    if roles.head in BY_DEFINITION:
        return hints
    names = [info.outputs[level.cls].name for level in roles.levels]
    # boxes beside the scores in one tensor stretch its range, unless the sigmoid is for both
    scores_only = all(level.cls != level.box for level in roles.levels)
    shared_sigmoid = roles.head == "anchor"
    activation, why = evidence.of_outputs(info, names, scores_only or shared_sigmoid)
    if activation is None and why.startswith("the evidence is contradictory"):
        raise ModelError(f"{why}; {STATE_IT}")
    return dataclasses.replace(hints, activation=activation, activation_evidence=why)
