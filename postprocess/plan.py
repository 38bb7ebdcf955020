"""Hints: what is known of a head beforehand.  HeadPlan: what recognition found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Head = Literal["dfl", "ltrb", "anchor", "yolox", "flat", "boxes_scores", "end2end"]
Activation = Literal["logits", "probabilities"]
CellLayout = Literal["nchw", "nhwc", "nc1hwc2"]
Anchors = tuple[tuple[tuple[float, float], ...], ...]  # per stride: (width, height) in pixels

HEADS: tuple[Head, ...] = get_args(Head)


@dataclass(frozen=True)
class Hints:
    """What manifest, labels or graph say about a head; None (or "") where they say nothing.

    `activation_evidence` names the source, e.g. "manifest" or "graph: last node is Sigmoid".
    `order` is the order of box and class tensor within each stride.  `strides` restricts which
    strides are considered (input pixels per cell).  `anchors` are those of an anchor head, strides
    ascending, (width, height) in input pixels.
    """

    head: Head | None = None
    activation: Activation | None = None
    activation_evidence: str = ""
    num_classes: int | None = None
    layout: CellLayout | None = None
    strides: tuple[int, ...] | None = None
    order: Literal["box,cls", "cls,box"] | None = None
    objectness: bool | None = None
    anchors: Anchors | None = None


@dataclass(frozen=True)
class Level:
    """One stride of a head, one anchor of it, or the single pseudo level of the flat heads.

    `stride` is in input pixels (0 for a pseudo level); `grid` is (rows, columns) of cells, (1, N)
    for a pseudo level.  `layout` "nchw" keeps each channel together ([1, 4+C, N] counts as such),
    "nhwc" each cell ([1, N, 4+C]), "nc1hwc2" blocks of channels.  `box`, `cls`, `obj` (objectness;
    the score of end2end) and `score_sum` are indices into the model's outputs, `…_channel` the
    first channel there.  `bins` is the number of DFL bins per side, 0 for boxes without DFL;
    `anchor` the (width, height) of an anchor in input pixels.
    """

    stride: int
    grid: tuple[int, int]
    layout: CellLayout
    box: int
    cls: int
    score_sum: int | None = None
    bins: int = 0
    obj: int | None = None
    box_channel: int = 0
    cls_channel: int = 0
    obj_channel: int = 0
    anchor: tuple[float, float] | None = None

    @property
    def cells(self) -> int:
        """Number of cells (predictions) of this level."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class HeadPlan:
    """How the output tensors of one model are to be read.

    `input_size` is (height, width) in pixels.  `num_classes` is 0 where the shapes do not tell
    (`end2end`).  `evidence` says in words why `activation` is what it is, and where default anchors
    come from.  `levels` ascend by stride, then anchor.
    """

    head: Head
    input_size: tuple[int, int]
    num_classes: int
    activation: Activation
    evidence: str
    levels: tuple[Level, ...]

    @property
    def cells(self) -> int:
        """Number of cells (predictions) of all levels."""
        return sum(level.cells for level in self.levels)

    @property
    def objectness(self) -> bool:
        """Whether an objectness multiplies all class scores."""
        return self.head != "end2end" and self.levels[0].obj is not None

    @property
    def batch_column(self) -> bool:
        """Whether end2end rows start with the image's index in the batch."""
        return self.head == "end2end" and self.levels[0].box_channel == 1

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides, ascending; empty for flat heads."""
        return tuple(sorted({level.stride for level in self.levels if level.stride}))

    def __str__(self) -> str:
        height, width = self.input_size
        parts = [f"{self.head} head", f"{width}x{height} input"]
        if self.num_classes:
            parts.append(f"{self.num_classes} classes")
        first = self.levels[0]
        if self.strides:
            parts.append("strides " + "/".join(map(str, self.strides)))
            parts.append(first.layout.upper())
            parts += [f"{first.bins} bins"] if first.bins else []
            parts += ["score sum"] if first.score_sum is not None else []
            parts += [f"{len(self.levels) // len(self.strides)} anchors"] if first.anchor else []
        else:
            parts.append(f"{first.cells} {'rows' if first.layout == 'nhwc' else 'columns'}")
            parts += ["objectness"] if self.objectness else []
            parts += ["batch column"] if self.batch_column else []
        parts.append(f"{self.activation} ({self.evidence})")
        return ", ".join(parts)
