"""Which outputs of two models answer each other, as real values of the same meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from postprocess.plan import HeadPlan
from postprocess.reference_nms import sigmoid
from runtime.golden.tensors import Key, Values
from runtime.input_spec import InputSpec


def unlike(plan_a: HeadPlan, input_a: InputSpec, plan_b: HeadPlan, input_b: InputSpec) -> str:
    """Why outputs of both cannot be compared element by element; empty where they can."""
    if plan_a.head != plan_b.head:
        return f"the heads differ, {plan_a.head} and {plan_b.head}"
    if plan_a.input_size != plan_b.input_size:
        sizes = " and ".join(f"{w}x{h}" for h, w in (plan_a.input_size, plan_b.input_size))
        return f"the input sizes differ, {sizes}"
    if input_a.letterbox != input_b.letterbox:
        return "pictures are fitted differently (input.letterbox)"
    shapes = [
        [(level.stride, level.cells, level.bins, level.obj is None) for level in plan.levels]
        for plan in (plan_a, plan_b)
    ]
    if shapes[0] != shapes[1] or plan_a.num_classes != plan_b.num_classes:
        return f"the heads differ: A has {plan_a}; B has {plan_b}"
    return ""


def paired(
    plan_a: HeadPlan, a: Mapping[Key, Values], plan_b: HeadPlan, b: Mapping[Key, Values]
) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """(what, values of A, values of B) by stride and role; logits as probabilities, too."""
    for key in sorted(a, key=lambda key: (key.stride, key.role)):
        x, y = a[key], b[key]
        sides = ((x, plan_a.activation), (y, plan_b.activation))
        activated = key.role != "box" or plan_a.head == "anchor"  # which has sigmoids in its boxes
        if not activated or plan_a.activation == plan_b.activation:
            kind = f" {plan_a.activation}" if key.role != "box" else ""
            yield f"{key}{kind}", x, y
        if activated and "logits" in (plan_a.activation, plan_b.activation):
            p, q = (sigmoid(v) if activation == "logits" else v for v, activation in sides)
            yield f"{key} {'probabilities' if key.role != 'box' else 'sigmoid'}", p, q
