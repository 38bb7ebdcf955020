"""Output tensors of made-up models, and what a test wants to know of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from npud.detections import Detections
from postprocess.decoder import Decoder, make_decoder
from postprocess.detect_head import Hints, recognise
from postprocess.options import Options
from postprocess.plan import HeadPlan
from postprocess.tensor import TensorSpec


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, shape, np.dtype(np.float32))


@dataclass
class Model:
    """A recognised head with one frame of tensors, which a test may overwrite in place."""

    plan: HeadPlan
    specs: list[TensorSpec]
    tensors: list[np.ndarray] = field(repr=False)
    by_role: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def decoder(self, kernels: str, **options: object) -> Decoder:
        return make_decoder(self.plan, self.specs, Options(**options), kernels)

    def decode(self, kernels: str, **options: object) -> Detections:
        return self.decoder(kernels, **options)(self.tensors)


def grid_model(
    head: str = "ltrb",
    layout: str = "nchw",
    size: tuple[int, int] = (64, 64),
    strides: tuple[int, ...] = (8, 16, 32),
    classes: int = 3,
    activation: str = "logits",
    bins: int = 16,
    score_sum: bool = False,
    order: str = "box,cls",
    background: float = -9.0,
) -> Model:
    """A head per stride, filled with `background`; roles are named box_8, cls_8, sum_8, …"""
    roles = [("cls", classes), ("box", 4 * bins if head == "dfl" else 4)]
    roles = roles[::-1] if order == "box,cls" else roles
    roles += [("sum", 1)] if score_sum else []
    specs, tensors, by_role = [], [], {}
    for stride in strides:
        rows, columns = size[0] // stride, size[1] // stride
        for role, channels in roles:
            planes = (1, channels, rows, columns)
            shape = planes if layout == "nchw" else (1, rows, columns, channels)
            value = background if role == "cls" else 1.0
            specs.append(spec(f"{role}_{stride}", *shape))
            tensors.append(np.full(shape, value, np.float32))
            # a view that is indexed [channel, row, column] whatever the layout
            view = tensors[-1][0] if layout == "nchw" else tensors[-1][0].transpose(2, 0, 1)
            by_role[f"{role}_{stride}"] = view
    hints = Hints(head=head, activation=activation, num_classes=classes, layout=layout, order=order)
    return Model(recognise(specs, size, hints), specs, tensors, by_role)


def single_model(
    shape: tuple[int, ...], size: tuple[int, int] = (64, 64), **hints: object
) -> Model:
    """A flat or end-to-end head of one tensor of zeros, named "out"."""
    specs = [spec("out", *shape)]
    tensors = [np.zeros(shape, np.float32)]
    return Model(recognise(specs, size, Hints(**hints)), specs, tensors, {"out": tensors[0][0]})


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU matrix of (N, 4) and (M, 4) xyxy boxes, in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    low, high = (
        np.maximum(a[:, None, :2], b[None, :, :2]),
        np.minimum(a[:, None, 2:], b[None, :, 2:]),
    )
    inter = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-12)
