"""Tail: a model's post-processing alone, from raw tensors to outputs, to be asked by running it.

What the raw tensors mean is not guessed: the tail is fed numbers, and what comes out tells which
tensor moves boxes and which moves scores, whether a sigmoid is applied, and how large the anchors
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from npud.errors import ModelError
from postprocess.plan import Anchors, HeadPlan
from postprocess.tensor import TensorSpec
from postprocess.views import cells_first
from runtime.prepare.graph import Graph, onnx, run, session
from runtime.prepare.walk import Raw

Role = Literal["box", "cls", "obj", "all"]
Values = Mapping[str, NDArray[Any]]
Answer = tuple[NDArray[np.float64], NDArray[np.float64]]
RAISED = np.float32(8)  # lifts scores above all others
LOGITS = (-3.0, 0.0, 2.0)  # asked for, to see the sigmoid
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Tail:
    """The post-processing between `raws` and the outputs that `plan` reads."""

    raws: tuple[Raw, ...]
    plan: HeadPlan
    specs: tuple[TensorSpec, ...]
    session: Any
    operations: frozenset[str]

    @classmethod
    def of(
        cls, graph: Graph, raws: Sequence[Raw], plan: HeadPlan, specs: Sequence[TensorSpec]
    ) -> Tail:
        """Cut it out; raises ModelError where it reads more of the network than the raw tensors."""
        names = [raw.name for raw in raws]
        nodes = graph.nodes_to([value.name for value in graph.outputs], names)
        made = {name for node in nodes for name in node.output} | graph.constants | set(names)
        for value in graph.inputs:
            if any(value.name in node.input for node in nodes) and value.name not in made:
                raise ModelError(f"post-processing reads the input {value.name} itself")
        kind = onnx.TensorProto.FLOAT
        inputs = [
            onnx.helper.make_tensor_value_info(raw.name, kind, list(raw.shape)) for raw in raws
        ]
        part = graph.part(nodes, inputs, graph.outputs)
        operations = frozenset(node.op_type for node in nodes)
        return cls(tuple(raws), plan, tuple(specs), session(part), operations)

    def ask(self, values: Values) -> Answer:
        """Boxes (N, 4) and scores (N, C or 1) for these raw tensors; those not given are 0."""
        feed = {raw.name: np.zeros(raw.shape, np.float32) for raw in self.raws}
        outputs = run(self.session, feed | dict(values))
        level = self.plan.levels[0]
        spec = self.specs[level.box]
        boxes = cells_first(outputs[level.box], level, spec, level.box_channel, 4)
        classes = 1 if self.plan.head == "end2end" else self.plan.num_classes
        channel = level.cls_channel if level.obj is None else level.obj_channel
        classes = classes + 1 if self.plan.objectness else classes
        spec = self.specs[level.cls]
        scores = cells_first(outputs[level.cls], level, spec, channel, classes)
        return boxes.astype(np.float64), scores.astype(np.float64)

    def roles(self) -> dict[str, Role]:
        """What each raw tensor is: seen from what changes in the outputs when it does."""
        noise = np.random.default_rng(1)
        base = {raw.name: noise.normal(0, 1, raw.shape).astype(np.float32) for raw in self.raws}
        other = {raw.name: noise.normal(3, 2, raw.shape).astype(np.float32) for raw in self.raws}
        scores = np.sort(self.ask(base)[1], axis=None)
        scoring = set()
        for name, values in other.items():
            changed = np.sort(self.ask(base | {name: values})[1], axis=None)
            if not np.array_equal(scores, changed):
                scoring.add(name)
        found: dict[str, Role] = {}
        for raw in self.raws:
            # an end-to-end tail shows the best cells only: make them those of this stride
            best = {
                r.name: base[r.name] + RAISED
                for r in self.raws
                if r.stride == raw.stride and r.name in scoring - {raw.name}
            }
            fed = base | best
            moves = not np.array_equal(
                self.ask(fed)[0], self.ask(fed | {raw.name: other[raw.name]})[0]
            )
            if raw.name in scoring:  # in an end-to-end tail scores reorder boxes
                found[raw.name] = "all" if moves and self.plan.head != "end2end" else "cls"
            elif moves:
                found[raw.name] = "box"
            else:
                raise ModelError(f"expected boxes or scores to depend on {raw}, they do not")
        return found

    def check_sigmoid(self, roles: Mapping[str, Role]) -> None:
        """Raise ModelError unless scores are the sigmoid of what the raw tensors hold."""
        for logit in LOGITS:
            fed = {
                raw.name: np.full(raw.shape, logit, np.float32)
                for raw in self.raws
                if roles[raw.name] != "box"
            }
            scores = self.ask(fed)[1]
            expected = 1 / (1 + np.exp(-logit))
            if not np.allclose(scores, expected, atol=TOLERANCE):
                raise ModelError(
                    f"expected the sigmoid of its class tensors as scores, {expected:.3f} for "
                    f"{logit:g}, got {scores.min():.3g} to {scores.max():.3g}"
                )

    def anchors(self, classes: int) -> Anchors:
        """Anchors in input pixels, as the tail's own constants give them: boxes of raw zeros.

        (2σ(0))² = 1, so width and height are then those of the anchor (facts of the v5 head);
        which rows belong to an anchor shows by raising its objectness alone.
        """
        boxes, scores = self.ask({})
        strides = []
        for raw in self.raws:
            sizes = []
            for first in range(0, raw.channels, 5 + classes):
                raised = np.zeros(raw.shape, np.float32)
                raised[:, first + 4] = 4
                rows = (self.ask({raw.name: raised})[1][:, 0] != scores[:, 0]).nonzero()[0]
                sizes.append(_one_size(boxes[rows, 2:], raw))
            strides.append(tuple(sizes))
        return tuple(strides)


def _one_size(sizes: NDArray[np.float64], raw: Raw) -> tuple[float, float]:
    if len(sizes) != raw.shape[2] * raw.shape[3] or np.ptp(sizes, axis=0).max() > TOLERANCE:
        raise ModelError(
            f"expected one anchor for all {raw.shape[2] * raw.shape[3]} cells of {raw}, got "
            f"{len(sizes)} boxes of different sizes"
        )
    width, height = np.round(sizes.mean(0), 4)
    return float(width), float(height)
