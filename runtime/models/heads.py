"""Which head a model has, and whether its classes are logits: decided once, from evidence.

The order of the evidence: the manifest; the graph's last operations and the quantization grids, as
the file shows them; one canary inference, where the model can be run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from npud.errors import ModelError
from postprocess.detect_head import recognise
from postprocess.plan import HeadPlan, Hints
from postprocess.tensor import TensorSpec
from runtime.models import evidence
from runtime.models.info import ModelInfo, picture_size
from runtime.models.manifest import Manifest

BY_DEFINITION = frozenset({"flat", "end2end", "boxes_scores"})  # heads of probabilities
STATE_IT = 'state `activation = "logits"` or `activation = "probabilities"` in the manifest'
Canary = Callable[[], Sequence[NDArray[Any]]]


def hints_of(manifest: Manifest) -> Hints:
    """What the manifest says about the head."""
    return Hints(
        head=manifest.head,
        activation=manifest.activation,
        activation_evidence="the manifest says so" if manifest.activation else "",
        num_classes=manifest.num_classes,
        layout=manifest.layout,
        strides=manifest.strides,
        order=manifest.order,
        objectness=manifest.objectness,
        anchors=manifest.anchors,
    )


def plan_of(
    info: ModelInfo,
    outputs: Sequence[TensorSpec],
    size: tuple[int, int],
    hints: Hints,
    canary: Canary | None = None,
) -> HeadPlan:
    """Recognise the head of `outputs` for an input of `size` (height, width).

    canary runs the model on a picture; it is asked only where file and hints are mute.  Raises
    ModelError where no known head fits, several do, or nothing tells logits from probabilities.
    """
    if hints.activation is None:
        roles = recognise(outputs, size, dataclasses.replace(hints, activation="probabilities"))
        if roles.head not in BY_DEFINITION:
            hints = _with_activation(info, outputs, roles, hints, canary)
    return recognise(outputs, size, hints)


def plan_with_labels(
    info: ModelInfo,
    outputs: Sequence[TensorSpec],
    size: tuple[int, int],
    hints: Hints,
    labels: int,
    canary: Canary | None = None,
) -> HeadPlan:
    """Do as plan_of, with the number of labels as a hint; a wrong number is an error of its own."""
    if not labels:
        return plan_of(info, outputs, size, hints, canary)
    counted = dataclasses.replace(hints, num_classes=labels)
    try:
        return plan_of(info, outputs, size, counted, canary)
    except ModelError:
        plan = plan_of(info, outputs, size, hints, canary)  # raises where labels are not the reason
    raise ModelError(f"expected {plan.num_classes} labels, as the head has classes, got {labels}")


def input_size(info: ModelInfo, size: tuple[int, int] | None) -> tuple[int, int]:
    """The model's input (height, width); `size` where the file leaves it open."""
    spec = info.picture
    found = picture_size(spec) if spec else None
    if found and all(found):
        return found
    size = size or info.input_size
    if size is None:
        raise ModelError("expected an input with a fixed size, [1,3,H,W] or [1,H,W,3], got none")
    return size


def _with_activation(
    info: ModelInfo,
    outputs: Sequence[TensorSpec],
    roles: HeadPlan,
    hints: Hints,
    canary: Canary | None,
) -> Hints:
    names = [outputs[level.cls].name for level in roles.levels]
    # boxes beside the scores in one tensor stretch its range, unless the sigmoid is for both
    scores_only = all(level.cls != level.box for level in roles.levels)
    shared_sigmoid = roles.head == "anchor"
    activation, why = evidence.of_outputs(info, names, scores_only or shared_sigmoid)
    if activation is None and why.startswith("the evidence is contradictory"):
        raise ModelError(f"{why}; {STATE_IT}")
    if activation is None and canary is not None:
        activation, why = evidence.from_values(roles, outputs, canary())
    return dataclasses.replace(hints, activation=activation, activation_evidence=why)
