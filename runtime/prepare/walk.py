"""Walk back from a model's outputs to the last tensors that have a grid of cells per stride.

These are what the convolutions of the head give: everything below them (reshapes, DFL, anchors,
sigmoids, top-k) is post-processing.  Neither names nor weights are looked at, only shapes and the
way the nodes are joined.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from npud.errors import ModelError
from postprocess.reading import STRIDES
from runtime.prepare.graph import Graph, Shape, attribute, sources

MAX_CONVOLUTIONS = 1  # that post-processing has in a row: DFL's, of one output channel
SAME = frozenset({"Sigmoid", "Identity", "Cast"})  # looked through, the sigmoid too
TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


@dataclass(frozen=True)
class Raw:
    """A tensor [1, channels, rows, columns] at the end of the network; `sigmoids` follow it."""

    name: str
    stride: int
    shape: Shape
    sigmoids: int = 0

    @property
    def channels(self) -> int:
        """Channels of each cell."""
        return self.shape[1]

    def __str__(self) -> str:
        return f"{self.name} {list(self.shape)}"


class Walk:
    """The lower end of a graph, with the shapes of its tensors."""

    def __init__(self, graph: Graph, picture: Shape) -> None:
        self._graph = graph
        self._size = picture[2:4] if picture[1] == 3 else picture[1:3]
        ends = [value.name for value in graph.outputs]
        self.shapes = graph.shapes(_region(graph, ends), picture)

    def back(self, ends: Iterable[str]) -> list[Raw]:
        """The last tensors with a grid above `ends`, strides ascending."""
        found: dict[str, Raw] = {}
        seen: set[str] = set()
        left = list(ends)
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            if self._stride(name):
                found.update((raw.name, raw) for raw in self.settle(name))
            elif (node := self._graph.made_by.get(name)) is not None:
                left += sources(node)
        order = {name: k for k, name in enumerate(self._graph.made_by)}
        return sorted(found.values(), key=lambda raw: (raw.stride, order.get(raw.name, 0)))

    def settle(self, name: str, sigmoids: int = 0) -> list[Raw]:
        """Look through what only joins, turns or activates a tensor with a grid."""
        node = self._graph.made_by.get(name)
        if node is None:
            raise ModelError(f"expected {name} to be computed, it is an input")
        op = node.op_type
        if op in SAME and self._stride(node.input[0]):
            return self.settle(node.input[0], sigmoids + (op == "Sigmoid"))
        if op == "Transpose" and list(attribute(node, "perm", [])) == TO_NHWC:
            return self.settle(node.input[0], sigmoids)
        axis = attribute(node, "axis", 0) if op == "Concat" else 0
        if axis in (1, -3) and all(self._stride(part) for part in node.input):
            return [raw for part in node.input for raw in self.settle(part, sigmoids)]
        shape = self.shapes[name]
        if self._at(shape[2:4]) == 0:
            raise ModelError(f"expected channels before the grid, got {name} {list(shape)}")
        return [Raw(name, self._stride(name), shape, sigmoids)]

    def _stride(self, name: str) -> int:
        """Input pixels per cell of a tensor with a grid, NCHW or NHWC, else 0."""
        shape = self.shapes.get(name, ())
        if len(shape) != 4 or shape[0] != 1:
            return 0
        return self._at(shape[2:4]) or self._at(shape[1:3])

    def _at(self, grid: Shape) -> int:
        height, width = self._size
        return next((s for s in STRIDES if (grid[0] * s, grid[1] * s) == (height, width)), 0)


def _region(graph: Graph, ends: list[str]) -> list[str]:
    """Names of the tensors that lie at most MAX_CONVOLUTIONS convolutions above the outputs."""
    passed: dict[str, int] = {}
    left = [(name, 0) for name in ends]
    while left:
        name, convolutions = left.pop()
        node = graph.made_by.get(name)
        if node is None or passed.get(name, MAX_CONVOLUTIONS + 1) <= convolutions:
            continue
        passed[name] = convolutions
        above = convolutions + (node.op_type == "Conv")
        if above <= MAX_CONVOLUTIONS:
            left += [(source, above) for source in sources(node)]
    return [name for name in graph.made_by if name in passed]
