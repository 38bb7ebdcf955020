"""The manifest beside a model (`yolo26n.onnx` + `yolo26n.toml`): what the file does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from postprocess.plan import HEADS, Activation, CellLayout, Head
from runtime.validate import convert, load_toml

Byte = Annotated[int, Meta(ge=0, le=255)]
Side = Annotated[int, Meta(ge=1, le=16384)]
Std = Annotated[float, Meta(gt=0)]
Pixels = Annotated[float, Meta(gt=0)]


class Input(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How pictures are fed to the model; also the config's [model.input], which overrides it."""

    size: Annotated[
        tuple[Side, Side] | None,
        Meta(description="[height, width] in pixels, for models whose input size is dynamic"),
    ] = None
    color: Annotated[
        Literal["rgb", "bgr"] | None, Meta(description="channel order the model was trained with")
    ] = None
    letterbox: Annotated[
        Literal["center", "topleft", "stretch"] | None,
        Meta(description="how a picture is fitted: padded on both sides, at the end, or stretched"),
    ] = None
    pad_value: Annotated[
        Byte | None,
        Meta(description="grey value of the letterbox padding; default for NV12 inputs: 127"),
    ] = None
    mean: Annotated[
        tuple[float, float, float] | None,
        Meta(description="per channel, in `color` order: value fed = (pixel - mean) / std"),
    ] = None
    std: Annotated[tuple[Std, Std, Std] | None, Meta(description="per channel, see mean")] = None
    yuv_range: Annotated[
        Literal["full", "video"] | None,
        Meta(
            description="NV12 inputs: BT.601 with luma 0..255, from which the RDK X5 computes RGB, "
            "or 16..235, as its model zoo feeds"
        ),
    ] = None

    def over(self, below: Input) -> Input:
        """This table's keys, and those of `below` where this one has none."""
        own = {k: v for k, v in msgspec.structs.asdict(self).items() if v is not None}
        return msgspec.structs.replace(below, **own)


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The .toml beside a model: facts that the model's file may not hold."""

    labels: Annotated[
        tuple[str, ...] | None, Meta(description="class names in the order of the class ids")
    ] = None
    head: Annotated[
        Head | None, Meta(description=f"head family: {', '.join(HEADS[:-1])} or {HEADS[-1]}")
    ] = None
    activation: Annotated[
        Activation | None,
        Meta(description="what the class outputs hold: before or after the sigmoid"),
    ] = None
    anchors: Annotated[
        tuple[tuple[tuple[Pixels, Pixels], ...], ...] | None,
        Meta(
            description="of an anchor head: for each stride, smallest first, [width, height] of "
            "its anchors in input pixels"
        ),
    ] = None
    num_classes: Annotated[
        Annotated[int, Meta(ge=1, le=4095)] | None,
        Meta(description="number of classes, where labels are not given"),
    ] = None
    strides: Annotated[
        tuple[Side, ...] | None, Meta(description="strides of the head, where shapes leave a doubt")
    ] = None
    layout: Annotated[
        CellLayout | None, Meta(description="memory layout of the outputs, where shapes are square")
    ] = None
    order: Annotated[
        Literal["box,cls", "cls,box"] | None,
        Meta(description="order of the outputs of a stride, where their channels are alike"),
    ] = None
    objectness: Annotated[
        bool | None, Meta(description="flat heads: channel 4 is an objectness")
    ] = None
    nms: Annotated[
        Literal["class", "agnostic", "none"] | None,
        Meta(description="non-maximum suppression that suits the model"),
    ] = None
    multi_label: Annotated[
        bool,
        Meta(
            description="a box may have several labels, as one-to-one heads (YOLO26, v10) "
            'give them in their graph; with nms = "none"'
        ),
    ] = False
    input: Annotated[
        Input, Meta(description="how pictures are fed: a table with the keys of [model.input]")
    ] = Input()


def beside(model: Path) -> Path:
    """Where the manifest of a model file is looked for: the same name with the suffix .toml."""
    return model.with_suffix(".toml")


def read(path: Path) -> Manifest:
    """Read and check a manifest; raises ConfigError naming file and key."""
    return convert(load_toml(path), Manifest, f"{path}: ")
