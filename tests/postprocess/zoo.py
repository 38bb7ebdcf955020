"""Random frames of every head in every memory form: layouts, types, quantizations, padding.

A role's values are made as float32 (rows, columns, channels) and then stored as a model would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from heads import Model
from hypothesis import strategies as st

from postprocess.detect_head import Hints, recognise
from postprocess.reference import sigmoid
from postprocess.tensor import Quantization, TensorSpec

DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32")
GRID_HEADS = ("dfl", "ltrb", "anchor", "yolox", "yolox_split")
HEADS = (*GRID_HEADS, "flat", "flat_obj", "boxes_scores", "end2end")
ANCHORS = ((10.0, 13.0), (30.0, 61.0), (116.0, 90.0))
SPECIALS = (np.nan, np.inf, 0.0, -0.0, 1e-42)


@dataclass
class Form:
    """How one output is stored."""

    dtype: str = "float32"
    layout: str = "nchw"
    per_channel: bool = False
    padded: bool = False
    block: int = 16  # C2 of NC1HWC2
    truncate: bool = False


def quantization(values: np.ndarray, form: Form) -> Quantization:
    """A scale and zero point (per channel) that cover the values; int32 fine, int16 symmetric."""
    flat = np.nan_to_num(values.reshape(-1, values.shape[-1]), posinf=1, neginf=0).astype(float)
    low, high = np.minimum(flat.min(0), 0), np.maximum(flat.max(0), 0) + 1e-3
    if not form.per_channel:
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    info = np.iinfo(form.dtype)
    if form.dtype == "int32":
        scale, zero = np.full_like(low, 1e-4), np.zeros_like(low)
    elif form.dtype == "int16":
        scale, zero = np.maximum(-low, high) / info.max, np.zeros_like(low)
    else:
        scale = (high - low) / 255
        zero = np.clip(np.rint(info.min - low / scale), info.min, info.max)
    scale, zero = scale.astype(np.float32), zero.astype(np.int32)
    return Quantization(scale, zero) if form.per_channel else Quantization(scale[0], zero[0])


def quantize(values: np.ndarray, q: Quantization, form: Form) -> np.ndarray:
    info = np.iinfo(form.dtype)
    steps = np.nan_to_num(values.astype(float), posinf=1e9, neginf=-1e9) / q.scale
    steps = np.floor(steps) if form.truncate else np.rint(steps)
    return np.clip(steps + q.zero_point, info.min, info.max).astype(form.dtype)


def store(
    name: str, values: np.ndarray, form: Form, q: Quantization | None = None
) -> tuple[TensorSpec, np.ndarray]:
    """(rows, columns, channels) as an output; the padding holds what would pass every threshold."""
    if form.dtype.startswith("float"):
        q, stored = None, values.astype(form.dtype)
        filling: float = np.inf
    else:
        q = q or quantization(values, form)
        stored, filling = quantize(values, q, form), np.iinfo(form.dtype).max
    rows, columns, channels = stored.shape
    if form.layout == "nc1hwc2":
        blocks = -(-channels // form.block)
        full = np.full((rows, columns, blocks * form.block), filling, form.dtype)
        full[..., :channels] = stored
        stored = full.reshape(rows, columns, blocks, form.block).transpose(2, 0, 1, 3)
    elif form.layout == "nchw":
        stored = stored.transpose(2, 0, 1)
    stored = np.ascontiguousarray(stored[None])
    strides = None
    if form.padded:
        room = [size + pad for size, pad in zip(stored.shape, (0, 1, 2, 3, 5))]
        buffer = np.full(room, filling, form.dtype)
        inside = buffer[tuple(slice(size) for size in stored.shape)]
        inside[...] = stored
        stored, strides = inside, tuple(stride // inside.itemsize for stride in inside.strides)
    layout = "nc1hwc2" if form.layout == "nc1hwc2" else ""
    spec = TensorSpec(name, stored.shape, stored.dtype, layout, q, strides, channels * bool(layout))
    return spec, stored


def scores(
    rng: np.random.Generator, shape: tuple[int, ...], style: int, logits: bool
) -> np.ndarray:
    """Style 0: some pass; 1: few levels (ties); 2: specials; 3: all pass; 4: hardly any."""
    values = rng.normal({3: 2.0, 4: -9.0}.get(style, -2.5), 2.0, shape)
    values = np.round(values * 2) / 2 if style == 1 else values
    return values if logits else sigmoid(values).astype(float)


def specials(rng: np.random.Generator, values: np.ndarray, style: int) -> np.ndarray:
    values = values.astype(np.float32)
    if style == 2:
        mask = rng.random(values.shape) < 0.01
        values[mask] = rng.choice(np.float32(SPECIALS), mask.sum())
    return values


def grid_values(
    rng: np.random.Generator,
    head: str,
    grid: tuple[int, int],
    classes: int,
    bins: int,
    style: int,
    logits: bool,
) -> dict[str, np.ndarray]:
    """The roles' values of one stride, (rows, columns, channels)."""
    if head in ("dfl", "ltrb"):
        box = rng.uniform(-1, 5, (*grid, 4 * bins if head == "dfl" else 4))
        return {"box": box, "cls": scores(rng, (*grid, classes), style, logits)}
    count = 3 if head == "anchor" else 1
    parts = []
    for _ in range(count):
        box = rng.normal(0, 1.2, (*grid, 4))
        box = box if logits or head != "anchor" else sigmoid(box)
        obj = scores(rng, (*grid, 1), 3 if style == 0 else style, logits)
        parts += [box, obj, scores(rng, (*grid, classes), style, logits)]
    if head == "yolox_split":
        return {"box": parts[0], "obj": parts[1], "cls": parts[2]}
    return {"all": np.concatenate(parts, axis=2)}


def grid_model(
    rng: np.random.Generator,
    head: str,
    forms: dict[str, Form],
    size: tuple[int, int] = (64, 64),
    strides: tuple[int, ...] = (8, 16, 32),
    classes: int = 3,
    bins: int = 16,
    style: int = 0,
    logits: bool = True,
    score_sum: bool = False,
) -> Model:
    """Outputs per stride; `forms` by role (box, cls, obj, sum, all)."""
    specs, tensors, layout = [], [], next(iter(forms.values())).layout
    for stride in strides:
        grid = size[0] // stride, size[1] // stride
        values = grid_values(rng, head, grid, classes, bins, style, logits)
        values = {role: specials(rng, v, style) for role, v in values.items()}
        if score_sum:
            with np.errstate(invalid="ignore"):
                total = values["cls"].sum(-1, keepdims=True, dtype=np.float32)
            values["sum"] = np.clip(total, 0, 1)
            if not forms["sum"].dtype.startswith("float"):
                values["sum"] = np.nan_to_num(values["sum"], nan=1)
        for role, value in values.items():
            spec, tensor = store(f"{role}_{stride}", value, forms[role])
            specs.append(spec)
            tensors.append(tensor)
    hints = Hints(
        head=head.removesuffix("_split"),
        activation="logits" if logits else "probabilities",
        num_classes=classes,
        layout=None if layout == "nc1hwc2" else layout,
        order="box,cls",
        anchors=(ANCHORS,) * len(strides) if head == "anchor" else None,
    )
    return Model(recognise(specs, size, hints), specs, tensors)


def flat_model(
    rng: np.random.Generator,
    head: str,
    forms: dict[str, Form],
    classes: int = 3,
    style: int = 0,
    batch: bool = False,
) -> Model:
    """flat, flat_obj, boxes_scores and end2end of a 64x64 input (84 cells, 3 anchors with obj)."""
    layout, cells = forms["all"].layout, 252 if head == "flat_obj" else 84
    if head == "end2end":
        rows = [rng.uniform(-10, 74, (cells, 4)), np.round(rng.random((cells, 1)), 1)]
        rows += [rng.integers(0, 80, (cells, 1))]
        values = np.hstack([np.zeros((cells, int(batch))), *rows])
        hints, layout = Hints(head="end2end"), "nhwc"
    else:
        box = rng.uniform(0, 64, (cells, 4))
        parts = [box, *([rng.random((cells, 1))] if head == "flat_obj" else [])]
        cls = scores(rng, (cells, classes), style, False)
        hints = Hints(head=head.removesuffix("_obj"), num_classes=classes, layout=layout)
        values = np.hstack([*parts, cls])
    values = specials(rng, values, style)
    pieces = {"out": values}
    if head == "boxes_scores":
        pieces = {"boxes": values[:, :4], "scores": values[:, 4:]}
        hints = Hints(head=head, num_classes=classes, layout=layout, order="box,cls")
    specs, tensors = [], []
    for name, piece in pieces.items():
        role = {"out": "all", "boxes": "box", "scores": "cls"}[name]
        spec, tensor = store(name, piece[None], Form(**{**vars(forms[role]), "layout": "nhwc"}))
        tensor, strides = tensor[0], spec.element_strides[1:]  # (1, cells, channels)
        if layout == "nchw":
            tensor, strides = tensor.transpose(0, 2, 1), (strides[0], strides[2], strides[1])
        flat = TensorSpec(name, tensor.shape, tensor.dtype, "", spec.quantization, strides)
        specs.append(flat)
        tensors.append(tensor)
    return Model(recognise(specs, (64, 64), hints), specs, tensors)


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Any head in any form."""
    head = draw(st.sampled_from(HEADS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    style = draw(st.integers(0, 4))
    layouts = ["nchw", "nhwc", "nc1hwc2"] if head in GRID_HEADS else ["nchw", "nhwc"]
    layout = draw(st.sampled_from(layouts))
    padded = draw(st.booleans())
    block = draw(st.sampled_from([4, 8, 16]))
    forms = {
        role: Form(
            draw(st.sampled_from(DTYPES)),
            layout,
            draw(st.booleans()),
            padded,
            block,
            draw(st.booleans()),
        )
        for role in (
            ("all",)
            if head in ("anchor", "yolox", "flat", "flat_obj", "end2end")
            else ("all", "box", "cls", "obj", "sum")
        )
    }
    classes = draw(st.one_of(st.integers(1, 40), st.sampled_from([64, 80, 333, 1000])))
    if head not in GRID_HEADS:
        form = forms["all"]
        form.per_channel = form.per_channel or form.dtype.endswith("int8")  # trap 6
        return flat_model(rng, head, forms, min(classes, 90), style, draw(st.booleans()))
    strides = draw(st.sampled_from([(8, 16, 32), (8,), (4, 8), (16, 32, 64), (8, 16, 32, 64)]))
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    logits = draw(st.booleans())
    score_sum = head in ("dfl", "ltrb") and not logits and draw(st.booleans())
    if score_sum:
        forms["sum"].per_channel = False
    return grid_model(
        rng,
        head,
        forms,
        (rows * strides[-1], columns * strides[-1]),
        strides,
        classes,
        draw(st.sampled_from([2, 8, 15, 16, 17, 32])),
        style,
        logits,
        score_sum,
    )
