"""Find the detection head: which tensors of the graph are boxes and classes of which stride."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from npud.errors import ModelError
from postprocess.plan import Anchors, HeadPlan
from postprocess.tensor import TensorSpec
from runtime.models.heads import BY_DEFINITION
from runtime.prepare.graph import Graph
from runtime.prepare.tail import Role, Tail
from runtime.prepare.walk import Raw, Walk

EXPECTED = (
    "per stride a box and a class convolution (YOLOv8 to 13, 26, YOLOX), or one of A*(5+C) "
    "channels (YOLOv5, v7)"
)


@dataclass(frozen=True)
class Part:
    """A raw tensor of the head, and what it holds; "all" is boxes, objectness and classes."""

    role: Role
    raw: Raw


@dataclass(frozen=True)
class Head:
    """The head of a model, before its post-processing.

    `parts` ascend by stride; their scores are logits.  `one_to_one`: trained to give each object
    once, so that neither graph nor caller suppress.  `operations` are those that are cut off,
    empty where none were there.
    """

    parts: tuple[Part, ...]
    classes: int
    anchors: Anchors | None
    one_to_one: bool
    operations: frozenset[str]

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides, ascending."""
        return tuple(sorted({part.raw.stride for part in self.parts}))

    def of(self, stride: int) -> list[Part]:
        """The parts of a stride: box, objectness, classes; or all."""
        order = ("box", "obj", "cls", "all")
        found = [part for part in self.parts if part.raw.stride == stride]
        return sorted(found, key=lambda part: order.index(part.role))


def find(graph: Graph, plan: HeadPlan, specs: tuple[TensorSpec, ...], picture: TensorSpec) -> Head:
    """Find the head of a model whose outputs `plan` reads; ModelError says what was found."""
    walk = Walk(graph, picture.shape)
    if plan.head not in BY_DEFINITION:
        return _already_raw(walk, plan, specs)
    raws = walk.back(value.name for value in graph.outputs)
    if not raws:
        raise ModelError(f"expected {EXPECTED} above its output {specs[0]}, found none")
    tail = Tail.of(graph, raws, plan, specs)
    if "NonMaxSuppression" in tail.operations:
        raise ModelError("expected a model without NMS in its graph: export it without")
    roles = _with_objectness(raws, tail.roles(), plan)
    _check(raws, roles)
    tail.check_sigmoid(roles)
    joined = "all" in roles.values()
    if joined and not plan.objectness:
        raise ModelError(f"expected {EXPECTED}, found boxes and classes in one: {_list(raws)}")
    return Head(
        parts=tuple(Part(roles[raw.name], raw) for raw in raws),
        classes=plan.num_classes or next(r.channels for r in raws if roles[r.name] == "cls"),
        anchors=tail.anchors(plan.num_classes) if joined else None,
        one_to_one=plan.head == "end2end",
        operations=tail.operations - {"Constant"},
    )


def _with_objectness(raws: list[Raw], roles: Mapping[str, Role], plan: HeadPlan) -> dict[str, Role]:
    """Tell YOLOX's objectness, one channel beside the classes, from classes."""
    found = dict(roles)
    for raw in raws if plan.objectness else ():
        beside = [r for r in raws if r.stride == raw.stride and roles[r.name] == "cls"]
        if raw.channels == 1 and len(beside) == 2 and raw is min(beside, key=raws.index):
            found[raw.name] = "obj"
    return found


def _check(raws: list[Raw], roles: Mapping[str, Role]) -> None:
    """Refuse what is not the same set of tensors on every stride."""
    per_stride: dict[int, Counter[tuple[str, int]]] = {}
    for raw in raws:
        per_stride.setdefault(raw.stride, Counter())[roles[raw.name], raw.channels] += 1
    sets = list(per_stride.values())
    names = sorted(role for role, _ in sets[0].elements())
    if any(one != sets[0] for one in sets) or names not in (
        ["all"],
        ["box", "cls"],
        ["box", "cls", "obj"],
    ):
        shown = "; ".join(f"{roles[raw.name]} {raw}" for raw in raws)
        raise ModelError(f"expected {EXPECTED}, found {shown}")


def _already_raw(walk: Walk, plan: HeadPlan, specs: tuple[TensorSpec, ...]) -> Head:
    """A model that ends in raw tensors: its outputs, looked through sigmoids and transposes."""
    if plan.head == "anchor" and "anchors: YOLOv5's" in plan.evidence:
        raise ModelError("its anchors are not in its graph: state `anchors` in the manifest")
    parts: dict[int, Part] = {}
    anchors: dict[int, list[tuple[float, float]]] = {}
    for level in plan.levels:
        roles: list[tuple[Role, int | None]] = [("box", level.box), ("cls", level.cls)]
        roles += [("obj", level.obj)]
        if level.box == level.cls:
            roles = [("all", level.box)]
        if level.anchor is not None:
            anchors.setdefault(level.stride, []).append(level.anchor)
        for role, index in roles:
            if index is not None:
                parts[index] = Part(role, _settled(walk, specs[index], role, plan))
    return Head(
        parts=tuple(parts.values()),
        classes=plan.num_classes,
        anchors=tuple(map(tuple, anchors.values())) or None,
        one_to_one=False,
        operations=frozenset(),
    )


def _settled(walk: Walk, spec: TensorSpec, role: Role, plan: HeadPlan) -> Raw:
    raws = walk.settle(spec.name)
    sigmoids = int(role != "box" and plan.activation == "probabilities")
    if len(raws) != 1 or raws[0].sigmoids != sigmoids:
        raise ModelError(
            f"expected output {spec} to hold {plan.activation} ({plan.evidence}), "
            f"found {_list(raws)} with {raws[0].sigmoids} sigmoids after it"
        )
    return raws[0]


def _list(raws: list[Raw]) -> str:
    return "; ".join(map(str, raws))
