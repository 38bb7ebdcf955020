"""Recognise a model's head from the shapes of its outputs, never from their names.

The grid size of a tensor gives its stride, the channel count its role.  What shapes leave open
(a model with 4, 64 or 68 classes, a grid as large as the channel count) is decided by, in this
order: the same channel count on all levels; the number of classes; channel counts of well-known
models; the order of the outputs where a manifest states it or where exporters agree on one.  What
is still open is refused with all readings shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from npud.errors import ModelError
from postprocess.flat_head import recognise_boxes_scores, recognise_flat
from postprocess.level_heads import joined, separate
from postprocess.plan import Activation, HeadPlan, Hints
from postprocess.reading import Reading, by_stride, layouts, possible_strides
from postprocess.tensor import TensorSpec

__all__ = ["Hints", "recognise"]

KNOWN_FORMS = (
    "per stride box [1,4,h,w] or [1,4*bins,h,w] and classes [1,C,h,w] (or NHWC, NC1HWC2), each "
    "optionally with a score sum or objectness [1,1,h,w]; per stride one [1,A*(5+C),h,w]; one "
    "[1,4+C,N] or [1,N,4+C]; one [1,N,5+C] with objectness; boxes [1,N,4] and scores [1,N,C]; one "
    "[1,K,6] or [K,7] end to end"
)


def recognise(
    outputs: Sequence[TensorSpec], input_size: tuple[int, int], hints: Hints | None = None
) -> HeadPlan:
    """Find which head `outputs` are; `input_size` is (height, width) in pixels.

    Raises ModelError where no known head fits (all shapes listed), where two do (both readings
    shown), where a shape is dynamic or a batch is larger than one, where anchors are needed, and
    where a raw head comes without evidence whether its classes are logits or probabilities.
    """
    hints = hints or Hints()
    _check_shapes(outputs)
    plan = _flat(outputs, input_size, hints)
    if plan is not None:
        return plan
    reading = _decide(list(_readings(outputs, input_size, hints)), outputs, hints)
    if reading.missing:
        raise ModelError(f"{reading.missing}; the outputs are {_list(outputs)}")
    activation, evidence = _activation(reading, outputs, hints)
    return HeadPlan(
        head=reading.head,
        input_size=input_size,
        num_classes=reading.num_classes,
        activation=activation,
        evidence=f"{evidence}; {reading.note}" if reading.note else evidence,
        levels=reading.levels,
    )


def _check_shapes(outputs: Sequence[TensorSpec]) -> None:
    for spec in outputs:
        if any(size <= 0 for size in spec.shape):
            raise ModelError(f"output {spec}: expected a fixed shape, got a dynamic dimension")


def _flat(
    outputs: Sequence[TensorSpec], input_size: tuple[int, int], hints: Hints
) -> HeadPlan | None:
    strides = possible_strides(input_size, hints)
    if len(outputs) == 1 and hints.head in (None, "flat", "end2end"):
        return recognise_flat(outputs[0], input_size, strides, hints)
    if len(outputs) == 2 and hints.head in (None, "boxes_scores"):
        return recognise_boxes_scores(outputs, input_size, strides, hints)
    return None


def _readings(
    outputs: Sequence[TensorSpec], input_size: tuple[int, int], hints: Hints
) -> Iterator[Reading]:
    for layout in layouts(outputs, hints):
        per_level = by_stride(outputs, input_size, layout, hints)
        if not per_level:
            continue
        for read in (separate, joined):
            for reading in read(per_level, layout, hints):
                if hints.head in (None, reading.head):
                    yield reading


def _decide(readings: list[Reading], outputs: Sequence[TensorSpec], hints: Hints) -> Reading:
    """Reduce the readings to one; each rule applies only where it leaves something."""
    if hints.num_classes is not None:
        readings = [r for r in readings if r.num_classes == hints.num_classes]
    if hints.anchors:
        readings = [r for r in readings if r.head == "anchor"] or readings
    candidates = [r for r in readings if r.usual] or readings
    if hints.order:
        box_first = hints.order == "box,cls"
        stated = [r for r in candidates if (r.levels[0].box < r.levels[0].cls) == box_first]
        candidates = stated or candidates
    if len(candidates) == 1 and _is_backed(candidates[0], hints):
        return candidates[0]
    if candidates:
        shown = "; or ".join(reading.describe(outputs) for reading in candidates)
        ways = f"{len(candidates)} ways" if len(candidates) > 1 else "one way, by shape alone"
        raise ModelError(
            f"the outputs can be read in {ways}: {shown}.  State `labels` (or `num_classes`), "
            f"`head`, `order` or `layout` in the manifest; the outputs are {_list(outputs)}"
        )
    classes = "" if hints.num_classes is None else f" with {hints.num_classes} classes"
    wanted = f"{hints.head} head" if hints.head else "known head"
    raise ModelError(f"no {wanted}{classes} in the outputs {_list(outputs)}; known: {KNOWN_FORMS}")


def _is_backed(reading: Reading, hints: Hints) -> bool:
    """Whether a joined tensor is more than some grid with more than five channels."""
    stated = hints.head or hints.num_classes is not None or hints.anchors
    return bool(reading.usual or stated or reading.levels[0].box != reading.levels[0].cls)


def _activation(
    reading: Reading, outputs: Sequence[TensorSpec], hints: Hints
) -> tuple[Activation, str]:
    if hints.activation is None:
        name = outputs[reading.levels[0].cls].name
        raise ModelError(
            f"cannot tell whether the class scores ({name}, …) are logits or probabilities: no "
            'evidence in the model.  State `activation = "logits"` (class branch without Sigmoid) '
            'or `activation = "probabilities"` (Sigmoid in the graph) in the manifest'
        )
    return hints.activation, hints.activation_evidence or "stated"


def _list(outputs: Sequence[TensorSpec]) -> str:
    return "; ".join(str(spec) for spec in outputs) or "(none)"
