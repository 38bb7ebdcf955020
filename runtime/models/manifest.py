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
Share = Annotated[float, Meta(ge=0, le=1)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{12}$")]  # runtime.models.digest()
FileName = Annotated[str, Meta(pattern=r"^[^/\\\x00-\x1f]+$")]  # beside the manifest
Parameter = str | int | float | bool


class Input(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How pictures are fed to the model; also the config's [model.input], which overrides it."""

    size: Annotated[
        tuple[Side, Side] | None,
        Meta(description="[height, width] in pixels, for models whose input size is dynamic"),
    ] = None
    color: Annotated[
        Literal["rgb", "bgr"] | None, Meta(description="channel order the model was trained with")
    ] = None
    layout: Annotated[
        Literal["nchw", "nhwc"] | None,
        Meta(description="memory layout of the input tensor, where its shape leaves a doubt"),
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


class Conversion(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[conversion]: how the model file was made.  A record: nothing is computed from it."""

    toolkit: Annotated[
        str | None, Meta(description="converter or exporter, e.g. rknn-toolkit2 or hb_mapper")
    ] = None
    version: Annotated[str | None, Meta(description="the toolkit's version")] = None
    target: Annotated[
        str | None, Meta(description="chip, in the vendor's word: rk3588, bayes-e")
    ] = None
    source: Annotated[str | None, Meta(description="file name of the model it was made from")] = (
        None
    )
    source_digest: Annotated[Digest | None, Meta(description="digest of that file")] = None
    quantization: Annotated[
        str | None, Meta(description="type of the quantized tensors, e.g. int8, or none")
    ] = None
    parameters: Annotated[
        dict[str, Parameter], Meta(description="a table of the toolkit's own settings")
    ] = {}


class Calibration(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[calibration]: the pictures that quantization ranges were measured on.  A record, too."""

    count: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="number of pictures")] = (
        None
    )
    digest: Annotated[Digest | None, Meta(description="digest of the list of pictures")] = None
    source: Annotated[
        str | None, Meta(description="name of the directory or data set they came from")
    ] = None
    method: Annotated[
        str | None, Meta(description="how ranges were found, in the vendor's word: normal, max, kl")
    ] = None
    notes: Annotated[str | None, Meta(description="anything else worth knowing")] = None


class Golden(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[golden]: a picture and what the float model finds in it; docs/golden.md."""

    image: Annotated[FileName, Meta(description="lossless picture (.png) beside the manifest")]
    reference: Annotated[
        FileName,
        Meta(description=".npz beside the manifest: detections and outputs of the float model"),
    ]
    min_matched: Annotated[
        Share, Meta(description="share of the reference detections that must be found again")
    ] = 0.75
    max_extra: Annotated[
        Annotated[float, Meta(ge=0)],
        Meta(description="further detections allowed, per reference detection"),
    ] = 0.5
    max_logit: Annotated[
        Annotated[float, Meta(gt=0)],
        Meta(
            description="by how much the highest class logit may be lower than the reference's; it "
            "may be higher by twice that"
        ),
    ] = 1.0
    max_score_shift: Annotated[
        Annotated[float, Meta(gt=0, le=1)],
        Meta(description="by how much the scores of matched detections may differ, on average"),
    ] = 0.15


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The .toml beside a model: facts that the model's file may not hold."""

    digest: Annotated[
        Digest | None,
        Meta(
            description="the model file's, the first 12 hex digits of its SHA-256; another file "
            "is refused"
        ),
    ] = None
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
    conversion: Annotated[Conversion, Meta(description="a table: how the file was made")] = (
        Conversion()
    )
    calibration: Annotated[
        Calibration, Meta(description="a table: what the quantization was calibrated on")
    ] = Calibration()
    golden: Annotated[
        Golden | None, Meta(description="a table: the golden sample, checked at every start")
    ] = None


def beside(model: Path) -> Path:
    """Where the manifest of a model file is looked for: the same name with the suffix .toml."""
    return model.with_suffix(".toml")


def read(path: Path) -> Manifest:
    """Read and check a manifest; raises ConfigError naming file and key."""
    return convert(load_toml(path), Manifest, f"{path}: ")
