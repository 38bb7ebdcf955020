"""Readings of outputs that have a grid per stride: `dfl`, `ltrb`, `anchor`, `yolox`.

Two or three outputs per stride are box, classes and a third of one channel, one output is
everything joined.  The third is a score sum (dfl, ltrb) or the objectness of YOLOX, which look
alike; the order of the outputs tells them apart:

    box, classes, third                         score sum   (Rockchip's model zoo)
    box, third, classes; classes, box, third    objectness  (YOLOX's own order, and its branches')

Any other order, and a single class, leave both readings.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from postprocess.plan import Anchors, CellLayout, Head, Hints, Level
from postprocess.reading import Grid, Reading

USUAL_BOX_CHANNELS = (4, 64, 68)  # ltrb; DFL with 16 bins; DFL with 17 bins (PP-YOLOE, YOLO-NAS)
USUAL_CLASSES = 80  # COCO
BOX_CHANNELS = 4
YOLOV5_ANCHORS: Anchors = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
YOLOV5_STRIDES = (8, 16, 32)
DEFAULT_ANCHORS = "anchors: YOLOv5's of COCO, as none are stated (YOLOv7's differ)"


def separate(per_level: list[list[Grid]], layout: CellLayout, hints: Hints) -> Iterator[Reading]:
    """All readings as box and class (and third) tensors per stride."""
    count = len(per_level[0])
    if not 2 <= count <= 3:
        return
    for roles in permutations(range(count)):
        picked = _pick(per_level, roles)
        channels = [grid.channels for grid in picked[0]]
        if channels[0] % 4 or (count == 3 and channels[2] != 1):
            continue
        if count == 2:
            yield _separate(picked, layout, "none")
            continue
        alike = channels[1] == 1  # one class: classes and third look alike
        for third in _thirds(picked, hints):
            if not alike or (roles[1] < roles[2]) == (third == "sum"):
                yield _separate(picked, layout, third)


def _pick(per_level: list[list[Grid]], roles: tuple[int, ...]) -> list[list[Grid]]:
    """Box, class and third tensor of each level: the `roles`-th output of the first.

    On the other levels the tensors with the same channel counts play the same roles; equal counts
    keep their order.
    """
    first = per_level[0]
    rank = [sum(first[j].channels == first[r].channels for j in range(r)) for r in roles]
    return [
        [
            [grid for grid in level if grid.channels == first[role].channels][nth]
            for role, nth in zip(roles, rank)
        ]
        for level in per_level
    ]


def _thirds(picked: list[list[Grid]], hints: Hints) -> tuple[str, ...]:
    """What the output of one channel may be: "sum", "obj", or both."""
    if picked[0][0].channels != BOX_CHANNELS or hints.objectness is False:
        return ("sum",)
    if hints.head == "yolox" or hints.objectness:
        return ("obj",)
    if hints.head == "ltrb":
        return ("sum",)
    orders = [tuple(grid.index for grid in level) for level in picked]
    if picked[0][1].channels > 1:
        if all(box < cls < third for box, cls, third in orders):
            return ("sum",)
        if all(box < third < cls or cls < box < third for box, cls, third in orders):
            return ("obj",)
    return ("sum", "obj")


def _separate(picked: list[list[Grid]], layout: CellLayout, third: str) -> Reading:
    box, classes = picked[0][0].channels, picked[0][1].channels
    bins = box // 4 if box > BOX_CHANNELS else 0
    levels = tuple(
        Level(
            stride=level[0].stride,
            grid=level[0].grid,
            layout=layout,
            box=level[0].index,
            cls=level[1].index,
            score_sum=level[2].index if third == "sum" else None,
            obj=level[2].index if third == "obj" else None,
            bins=bins,
        )
        for level in picked
    )
    head: Head = "dfl" if bins else "yolox" if third == "obj" else "ltrb"
    return Reading(head, classes, levels, usual=box in USUAL_BOX_CHANNELS)


def joined(per_level: list[list[Grid]], layout: CellLayout, hints: Hints) -> Iterator[Reading]:
    """Readings of one tensor per stride: A times x, y, w, h, objectness and C classes."""
    if len(per_level[0]) != 1:
        return
    grids = [level[0] for level in per_level]
    channels = grids[0].channels
    if channels > 5:
        levels = tuple(_joined_level(grid, layout, 0) for grid in grids)
        yield Reading("yolox", channels - 5, levels, usual=channels - 5 == USUAL_CLASSES)
    anchors = len(hints.anchors[0]) if hints.anchors else 3
    if anchors and channels % anchors == 0 and channels // anchors > 5:
        yield _anchor_reading(grids, anchors, layout, hints)


def _joined_level(
    grid: Grid, layout: CellLayout, first: int, anchor: tuple[float, float] | None = None
) -> Level:
    return Level(
        stride=grid.stride,
        grid=grid.grid,
        layout=layout,
        box=grid.index,
        cls=grid.index,
        obj=grid.index,
        box_channel=first,
        obj_channel=first + 4,
        cls_channel=first + 5,
        anchor=anchor,
    )


def _anchor_reading(grids: list[Grid], count: int, layout: CellLayout, hints: Hints) -> Reading:
    strides = tuple(grid.stride for grid in grids)
    per_anchor = grids[0].channels // count
    anchors, note, missing = hints.anchors or YOLOV5_ANCHORS, "", ""
    if hints.anchors is None and strides == YOLOV5_STRIDES:
        note = DEFAULT_ANCHORS
    elif hints.anchors is None:
        missing = (
            f"an anchor head with strides {strides} needs `anchors`, (width, height) in pixels"
        )
    elif len(anchors) != len(grids) or len({len(level) for level in anchors}) != 1:
        missing = f"expected the same number of `anchors` for each of the strides {strides}"
    if missing:
        anchors = (((1.0, 1.0),) * count,) * len(grids)
    levels = tuple(
        _joined_level(grid, layout, a * per_anchor, anchors[i][a])
        for i, grid in enumerate(grids)
        for a in range(count)
    )
    usual = per_anchor - 5 == USUAL_CLASSES
    return Reading("anchor", per_anchor - 5, levels, usual, note, missing)
