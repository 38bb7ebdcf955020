"""Reference: what the float model finds in the golden picture, as an .npz beside the manifest.

Members: `meta`, a JSON text (class Meta); `boxes`, `scores`, `class_ids` of the detections; and per
output its values as float16 (cells, channels), named by role and stride: `cls_8`, `box_8`, …
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from npud._version import __version__
from npud.detections import Detections
from npud.errors import ModelError, SourceError
from postprocess.decoder import make_decoder
from postprocess.plan import Activation
from runtime.detector import Detector, Observation
from runtime.frame import Frame
from runtime.golden.tensors import Key, Values, by_meaning, peak, statistics
from runtime.input_spec import InputSpec
from runtime.sources.images import read_image, write_image

MAX_BYTES = 1 << 30  # unpacked
FAINT = 0.5
HALF_MAX = float(np.finfo(np.float16).max)


class Output(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which output, and its statistics; those of the float model before float16."""

    role: Literal["box", "cls", "obj"]
    stride: int
    min: float | None
    max: float | None
    mean: float | None
    std: float | None


class Meta(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How the reference came about.

    model is "<stem>@<digest>"; picture the digest of the pixels, which are height × width; peak the
    highest class logit; fed the part of the input that does not depend on the conversion.
    """

    version: Literal[1]
    npud: str
    model: str
    head: str
    activation: Activation
    labels: tuple[str, ...]
    picture: str
    height: int
    width: int
    score_threshold: float
    iou_threshold: float
    max_detections: int
    peak: float
    fed: dict[str, str | int]
    outputs: tuple[Output, ...]


@dataclass(frozen=True, eq=False)
class Reference:
    """A golden sample: picture (H, W, 3) BGR, detections in its pixels, outputs by meaning.

    found begins at FAINT times the score threshold, so that an object that is only just above it in
    one model and just below it in the other is not taken for a miss.
    """

    pixels: NDArray[np.uint8]
    meta: Meta
    found: Detections
    outputs: dict[Key, Values]

    @property
    def objects(self) -> int:
        """Detections that reach the threshold."""
        return int(reaching(self.found, self.meta.score_threshold).sum())


def reaching(found: Detections, score_threshold: float) -> NDArray[np.bool_]:
    """Which detections (N,) reach a threshold, in the sense of the decoder."""
    result: NDArray[np.bool_] = found.scores >= np.float32(score_threshold)
    return result


def find(detector: Detector, seen: Observation, score: float, iou: float, most: int) -> Detections:
    """Decode an observation again, from FAINT times the score threshold on, in source pixels."""
    options = dataclasses.replace(
        detector.options,
        score_threshold=FAINT * score,
        iou_threshold=iou,
        max_detections=most,
    )
    decode = make_decoder(detector.plan, detector.backend.outputs, options)
    return seen.letterbox.to_source(decode(seen.outputs))


def make(detector: Detector, pixels: NDArray[np.uint8]) -> Reference:
    """What this model, a float one, finds in a picture; raises ModelError where it is nothing."""
    seen = detector.observe(Frame(pixels))
    values = by_meaning(detector.plan, detector.backend.outputs, seen.outputs)
    options = detector.options
    if not len(seen.found):
        raise ModelError(
            f"model {detector.files.path}: expected a picture in which it finds something at score "
            f"{options.score_threshold:g}, found nothing"
        )
    meta = Meta(
        version=1,
        npud=__version__,
        model=detector.files.name,
        head=detector.plan.head,
        activation=detector.plan.activation,
        labels=detector.files.labels,
        picture=digest_of(pixels),
        height=pixels.shape[0],
        width=pixels.shape[1],
        score_threshold=options.score_threshold,
        iou_threshold=options.iou_threshold,
        max_detections=options.max_detections,
        peak=peak(values, detector.plan.activation),
        fed=how_fed(detector.input),
        outputs=tuple(_output(key, array) for key, array in values.items()),
    )
    found = find(
        detector, seen, options.score_threshold, options.iou_threshold, options.max_detections
    )
    return Reference(pixels, meta, found, values)


def how_fed(spec: InputSpec) -> dict[str, str | int]:
    """What float model and deployed model must have in common; NV12 has no order of channels."""
    height, width = spec.size
    fed = {"letterbox": spec.letterbox, "pad_value": spec.pad_value, "size": f"{width}x{height}"}
    return fed if spec.color == "nv12" else fed | {"color": spec.color}


def digest_of(pixels: NDArray[np.uint8]) -> str:
    """The first 12 hex digits of the SHA-256 of (H, W, 3) BGR pixels."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:12]


def save(reference: Reference, image: Path, arrays: Path) -> None:
    """Write picture (.png) and arrays (.npz); raises ModelError where that is not possible."""
    found = reference.found
    halves: dict[str, Any] = {
        str(key): values.clip(-HALF_MAX, HALF_MAX).astype(np.float16)
        for key, values in reference.outputs.items()
    }
    try:
        write_image(image, reference.pixels)
        with arrays.open("wb") as file:
            np.savez_compressed(
                file,
                meta=np.array(msgspec.json.encode(reference.meta).decode()),
                boxes=found.boxes,
                scores=found.scores,
                class_ids=found.class_ids,
                **halves,
            )
    except (OSError, SourceError) as error:
        raise ModelError(f"golden sample: cannot write it: {error}") from None


def load(image: Path, arrays: Path) -> Reference:
    """Read a golden sample; raises ModelError for what is missing, damaged or does not belong."""
    try:
        pixels = read_image(image)
    except SourceError as error:
        raise ModelError(f"golden sample: {error}") from None
    meta, found, outputs = _load(arrays)
    if digest_of(pixels) != meta.picture:
        raise ModelError(
            f"golden sample: {arrays} was made of other pixels than those of {image}: make both "
            "anew (npud manifest --golden), and keep the picture lossless"
        )
    return Reference(pixels, meta, found, outputs)


def _load(path: Path) -> tuple[Meta, Detections, dict[Key, Values]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"{size} bytes of arrays, more than {MAX_BYTES}")
        with np.load(path, allow_pickle=False) as file:
            meta = msgspec.json.decode(str(file["meta"]), type=Meta)
            found = Detections(
                file["boxes"].astype(np.float32).reshape(-1, 4),
                file["scores"].astype(np.float32).reshape(-1),
                file["class_ids"].astype(np.int32).reshape(-1),
            )
            keys = [Key(output.role, output.stride) for output in meta.outputs]
            outputs = {key: file[str(key)].astype(np.float32) for key in keys}
        if not len(found.boxes) == len(found.scores) == len(found.class_ids) > 0:
            raise ValueError("not as many boxes as scores and classes, or none at all")
    except Exception as error:  # zipfile, zlib, numpy and msgspec raise a dozen kinds
        why = str(error).strip("'") or type(error).__name__
        raise ModelError(
            f"golden sample: {path}: expected a reference that npud made, got: {why}"
        ) from None
    return meta, found, outputs


def _output(key: Key, values: Values) -> Output:
    low, high, mean, std, _ = (
        value if math.isfinite(value) else None for value in statistics(values)
    )
    return Output(key.role, key.stride, low, high, mean, std)  # type: ignore[arg-type]
