"""Hints: what is known of a head beforehand.  HeadPlan: what recognition found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Head = Literal["dfl", "ltrb", "flat", "end2end"]
Activation = Literal["logits", "probabilities"]
CellLayout = Literal["nchw", "nhwc"]

HEADS: tuple[Head, ...] = ("dfl", "ltrb", "flat", "end2end")


@dataclass(frozen=True)
class Hints:
    """What manifest, labels or graph say about a head; None (or "") where they say nothing.

    `activation_evidence` names the source, e.g. "manifest" or "graph: last node is Sigmoid".
    `order` is the order of box and class tensor within each stride.  `strides` restricts which
    strides are considered (input pixels per cell).
    """

    head: Head | None = None
    activation: Activation | None = None
    activation_evidence: str = ""
    num_classes: int | None = None
    layout: CellLayout | None = None
    strides: tuple[int, ...] | None = None
    order: Literal["box,cls", "cls,box"] | None = None
    objectness: bool | None = None


@dataclass(frozen=True)
class Level:
    """One stride of a head, or the single pseudo level of `flat` and `end2end`.

    `stride` is in input pixels (0 for a pseudo level); `grid` is (rows, columns) of cells, (1, N)
    for a pseudo level.  `layout` "nchw" keeps each channel together ([1, 4+C, N] counts as such),
    "nhwc" each cell ([1, N, 4+C]).  `box`, `cls` and `score_sum` are indices into the model's
    outputs; `bins` is the number of DFL bins per side, 0 for boxes without DFL.
    """

    stride: int
    grid: tuple[int, int]
    layout: CellLayout
    box: int
    cls: int
    score_sum: int | None = None
    bins: int = 0

    @property
    def cells(self) -> int:
        """Number of cells (predictions) of this level."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class HeadPlan:
    """How the output tensors of one model are to be read.

    `input_size` is (height, width) in pixels.  `num_classes` is 0 where the shapes do not tell
    (`end2end`).  `evidence` says in words why `activation` is what it is.  `levels` ascend by
    stride.  `objectness` (flat): channel 4 is an objectness that multiplies all class scores.
    `batch_column` (end2end): rows start with the image's index in the batch.
    """

    head: Head
    input_size: tuple[int, int]
    num_classes: int
    activation: Activation
    evidence: str
    levels: tuple[Level, ...]
    objectness: bool = False
    batch_column: bool = False

    @property
    def cells(self) -> int:
        """Number of cells (predictions) of all levels."""
        return sum(level.cells for level in self.levels)

    def __str__(self) -> str:
        height, width = self.input_size
        parts = [f"{self.head} head", f"{width}x{height} input"]
        if self.num_classes:
            parts.append(f"{self.num_classes} classes")
        first = self.levels[0]
        if first.stride:
            parts.append("strides " + "/".join(str(level.stride) for level in self.levels))
            parts.append(first.layout.upper())
            parts += [f"{first.bins} bins"] if first.bins else []
            parts += ["score sum"] if first.score_sum is not None else []
        else:
            parts.append(f"{first.cells} {'rows' if first.layout == 'nhwc' else 'columns'}")
            parts += ["objectness"] if self.objectness else []
            parts += ["batch column"] if self.batch_column else []
        parts.append(f"{self.activation} ({self.evidence})")
        return ", ".join(parts)
