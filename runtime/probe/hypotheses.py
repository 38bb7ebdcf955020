"""What may be wrong with how a model is fed and read: each is tried, not believed.

A hypothesis is a cause with the setting that would be right if it were true: the same pictures fed
otherwise (run again), or the same outputs read otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from npud.errors import ModelError
from postprocess.detect_head import recognise
from postprocess.level_heads import YOLOV5_ANCHORS
from postprocess.plan import HEADS, Anchors, Level
from runtime.input_spec import InputSpec
from runtime.models.heads import hints_of
from runtime.probe import readings
from runtime.probe.bench import Bench, Feed, Outputs, Reading

Side = Literal["input", "output"]
Pixels = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean, std
SCALES: dict[str, Pixels] = {
    "pixels of 0..1": ((0.0,) * 3, (255.0,) * 3),
    "pixels of 0..255": ((0.0,) * 3, (1.0,) * 3),
    "pixels of 0..1/255": ((0.0,) * 3, (65025.0,) * 3),
    "pixels of -1..1": ((127.5,) * 3, (127.5,) * 3),
    "ImageNet's mean and std": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}

GRID_UNITS = 20.0  # anchors in pixels reach several hundred


@dataclass(frozen=True)
class Hypothesis:
    """A cause, what is tried to show it, and what to do where it is true."""

    cause: str
    side: Side
    tried: str
    text: str
    remedy: str
    feed: Feed
    reading: Reading | None = None


def all_of(bench: Bench) -> Iterator[Hypothesis]:
    """Everything that can be tried on this bench: a recording cannot be fed."""
    if bench.runs:
        yield from _feeds(bench)
    yield from _readings(bench)


def _feeds(bench: Bench) -> Iterator[Hypothesis]:
    spec = bench.detector.input
    yield _colours(bench.deployed)
    if spec.color != "nv12" and not spec.as_bytes:
        yield from _scales(spec)
    for fit in ("center", "stretch", "topleft"):
        if fit != spec.letterbox:
            text = f"pictures are fitted with letterbox {spec.letterbox}, the model wants {fit}"
            feed = Feed(dataclasses.replace(spec, letterbox=fit))
            remedy = f'say input.letterbox = "{fit}" in the manifest'
            yield Hypothesis("wrong_letterbox", "input", f"letterbox {fit}", text, remedy, feed)
    if spec.color == "nv12":
        other = "video" if spec.yuv_range == "full" else "full"
        feed = Feed(dataclasses.replace(spec, yuv_range=other))  # type: ignore[arg-type]
        text, remedy = "the range of NV12 is another", f'say input.yuv_range = "{other}"'
        yield Hypothesis("wrong_yuv_range", "input", f"NV12 {other} range", text, remedy, feed)
    else:
        text = "the input's memory layout is another: rows of pixels where planes are expected"
        remedy = (
            "transpose where the model was exported or converted (data_format, input_layout_rt): a "
            "reshape is no transposition"
        )
        feed = Feed(spec, turned=True)
        yield Hypothesis("wrong_layout", "input", "input in the other layout", text, remedy, feed)
    for value in (0, 114, 127):
        if bench.reference is not None and value != spec.pad_value:
            text = f"the letterbox is padded with {spec.pad_value}, the model wants {value}"
            feed = Feed(dataclasses.replace(spec, pad_value=value))
            remedy = f"say input.pad_value = {value} in the manifest"
            yield Hypothesis("wrong_padding", "input", f"padding {value}", text, remedy, feed)


def _colours(feed: Feed) -> Hypothesis:
    other = {"rgb": "bgr", "bgr": "rgb"}.get(feed.spec.color, "")
    remedy = f'say input.color = "{other}" in the manifest' if other else ""
    remedy = remedy or "feed NV12, not NV21, or convert with the colours the model was trained on"
    swapped = dataclasses.replace(feed, swap=True)
    text = "red and blue are exchanged"
    return Hypothesis("swapped_channels", "input", "red and blue exchanged", text, remedy, swapped)


def _scales(spec: InputSpec) -> Iterator[Hypothesis]:
    for name, (mean, std) in SCALES.items():
        if np.allclose(mean, spec.mean) and np.allclose(std, spec.std):
            continue
        feed = Feed(dataclasses.replace(spec, mean=mean, std=std))
        cause = "wrong_mean_std"
        text = f"the model wants {name}, and gets (pixel - {_mean(spec)}) / {_std(spec)}"
        if not any(mean) and not any(spec.mean):
            cause = "scaled_twice" if std[0] < spec.std[0] else "not_scaled"
            does = "scaled twice" if cause == "scaled_twice" else "not scaled"
            text = f"pixels are {does}: the model wants {name} at its input"
        remedy = f"say input.mean = {list(mean)} and input.std = {list(std)} in the manifest, "
        remedy += "or take the scale out of the model or its conversion where that has one too"
        yield Hypothesis(cause, "input", name, text, remedy, feed)


def _mean(spec: InputSpec) -> str:
    return f"{spec.mean[0]:g}" if len(set(spec.mean)) == 1 else str(list(spec.mean))


def _std(spec: InputSpec) -> str:
    return f"{spec.std[0]:g}" if len(set(spec.std)) == 1 else str(list(spec.std))


def _readings(bench: Bench) -> Iterator[Hypothesis]:
    plan = bench.detector.plan
    yield from _activations(bench)
    yield from _layouts(bench)
    for tried, reading in _boxes(plan.head):
        yield Hypothesis(
            "wrong_boxes", "output", tried, f"the boxes are {tried}, not what the head says",
            "cut the model before its box decoding (npud prepare), or export it with one of the "
            "known heads", bench.deployed, reading,
        )  # fmt: skip
    if plan.head == "anchor":
        for tried, reading in _anchors(plan.levels):
            yield Hypothesis(
                "wrong_anchors", "output", tried, f"the anchors are wrong: {tried} are right",
                "state the model's own `anchors` in the manifest; npud prepare reads them from "
                "the graph", bench.deployed, reading,
            )  # fmt: skip
    yield from _heads(bench)


def _activations(bench: Bench) -> Iterator[Hypothesis]:
    for cause, tried, text, reading in (
        ("double_sigmoid", "classes as probabilities",
         "a sigmoid is applied to probabilities", readings.with_activation("probabilities")),
        ("missing_sigmoid", "classes as logits",
         "logits are taken for probabilities", readings.with_activation("logits")),
        ("double_sigmoid", "one sigmoid undone",
         "the graph applies the sigmoid twice", readings.without_sigmoid),
    ):  # fmt: skip
        now = bench.detector.plan.activation
        if tried == f"classes as {now}" or (tried == "one sigmoid undone" and now == "logits"):
            continue
        remedy = "remove the second sigmoid from the graph"
        if tried != "one sigmoid undone":
            right = "probabilities" if now == "logits" else "logits"
            remedy = f'say activation = "{right}" in the manifest'
            if bench.detector.plan.head in ("flat", "boxes_scores", "end2end"):
                remedy = "export with the sigmoid in the graph, or cut the head (npud prepare)"
        yield Hypothesis(cause, "output", tried, text, remedy, bench.deployed, reading)


def _layouts(bench: Bench) -> Iterator[Hypothesis]:
    plan, specs = bench.detector.plan, bench.detector.backend.outputs
    if plan.head == "end2end" or plan.levels[0].layout == "nc1hwc2":
        return
    if any(spec.strides is not None or len(spec.shape) < 2 for spec in specs):
        return
    yield Hypothesis(
        "wrong_layout", "output", "outputs in the other layout",
        "the outputs' memory layout is another than their shapes say",
        "transpose the outputs where they are made (a reshape is no transposition), or have the "
        "runtime give them in the layout it states", bench.deployed, readings.in_other_layout,
    )  # fmt: skip


def _boxes(head: str) -> Iterator[tuple[str, Reading]]:
    if head in ("dfl", "ltrb", "boxes_scores", "end2end"):
        yield "y before x", readings.in_order(1, 0, 3, 2)
        yield "in the order 3, 4, 1, 2", readings.in_order(2, 3, 0, 1)
    if head == "ltrb":
        yield "in pixels, not cells", readings.with_boxes(readings.from_pixels)
    if head == "flat":
        yield "corners", readings.with_boxes(readings.from_corners)
        yield "y before x", readings.in_order(1, 0, 3, 2)
    if head in ("boxes_scores", "end2end"):
        yield "centre and size", readings.with_boxes(readings.from_centres)
    if head in ("flat", "boxes_scores", "end2end"):
        yield "fractions of the input", readings.with_boxes(readings.from_fractions)
    if head in ("anchor", "yolox"):
        yield "y before x", readings.in_order(1, 0, 3, 2)


def _anchors(levels: tuple[Level, ...]) -> Iterator[tuple[str, Reading]]:
    now = [level.anchor or (1.0, 1.0) for level in levels]
    per = len(levels) // len({level.stride for level in levels})
    groups = [now[i : i + per] for i in range(0, len(now), per)]
    choices = {
        "YOLOv5's": _flat(YOLOV5_ANCHORS),
        "YOLOv7's": _flat(readings.YOLOV7_ANCHORS),
        "those of the strides in reverse": [a for group in groups[::-1] for a in group],
        "height and width exchanged": [(b, a) for a, b in now],
    }
    if max(map(max, now)) < GRID_UNITS:  # so small they can only be cells
        cells = [(a * v.stride, b * v.stride) for (a, b), v in zip(now, levels)]
        choices["those times the stride"] = cells
    for name, anchors in choices.items():
        if len(anchors) == len(now) and not np.allclose(anchors, now):
            yield name, readings.with_anchors(lambda _, anchors=anchors: anchors)  # type: ignore[misc]


def _flat(anchors: Anchors) -> list[tuple[float, float]]:
    return [anchor for level in anchors for anchor in level]


def _heads(bench: Bench) -> Iterator[Hypothesis]:
    """Other heads that have the same shapes, and other orders of the same head."""
    plan, files = bench.detector.plan, bench.detector.files
    hints = dataclasses.replace(
        hints_of(files.manifest), activation=plan.activation, activation_evidence="tried",
        num_classes=len(files.labels) or None, order=None, objectness=None,
    )  # fmt: skip
    others: list[dict[str, str]] = [{"head": head} for head in HEADS if head != plan.head]
    others += [{"head": plan.head, "order": order} for order in ("box,cls", "cls,box")]
    for other in others:
        changed = dataclasses.replace(hints, **other)  # type: ignore[arg-type]
        try:
            found = recognise(bench.detector.backend.outputs, plan.input_size, changed)
        except ModelError:
            continue
        if (found.head, found.levels) == (plan.head, plan.levels):
            continue

        def reading(seen: Outputs, found: object = found) -> Outputs:
            return dataclasses.replace(seen, plan=found)  # type: ignore[arg-type]

        tried = " ".join(str(value) for value in other.values())
        remedy = f"say {' and '.join(f'{k} = {v!r}' for k, v in other.items())} in the manifest"
        text = f"the head is not {plan.head} as it is read, but {tried}"
        remedy = remedy.replace("'", '"')
        yield Hypothesis(
            "wrong_head", "output", f"head {tried}", text, remedy, bench.deployed, reading
        )
