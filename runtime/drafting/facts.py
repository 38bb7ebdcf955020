"""What a model file says of its own manifest: values by dotted key, each with where it is from."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from npud.errors import ModelError
from postprocess.plan import HeadPlan
from runtime import models
from runtime.models import versions
from runtime.models.heads import BY_DEFINITION, hints_of, input_size, plan_of
from runtime.models.info import ModelInfo, Pixels
from runtime.models.manifest import Manifest

LONGEST = 80  # characters of a metadata value that is taken as a conversion parameter
NO_PARAMETERS = frozenset({
    "names", "labels", "anchors", "shapes",  # of the model
    "BUILDER_VERSION", "MARCH", "CALI_TYPE",  # have keys of their own
})  # fmt: skip
Values = dict[str, Any]


@dataclass(frozen=True)
class Fact:
    """A value and its source, in words."""

    value: Any
    source: str


@dataclass(frozen=True)
class Known:
    """A model file, its head where it is recognised (else why not), and the facts."""

    path: Path
    info: ModelInfo
    plan: HeadPlan | None
    refusal: str
    facts: dict[str, Fact]

    @property
    def pixels(self) -> Pixels | None:
        """How pixels reach the network, where the file says."""
        spec = self.info.picture
        return self.info.pixels.get(spec.name) if spec else None

    @property
    def scales_itself(self) -> bool:
        """Whether mean and std are applied inside the file (or by the board's runtime)."""
        return self.info.format in ("rknn", "bin")

    @property
    def quantized(self) -> bool:
        """Whether the file holds integers with a scale."""
        return bool(self.info.grids)


def read(path: Path, stated: Manifest) -> Known:
    """Read a model file; `stated` is what is known beside it.  Raises ModelError."""
    info = models.describe(path)
    labels = stated.labels if stated.labels is not None else info.labels
    plan, refusal = None, ""
    for count in (len(labels) or None, None):  # a wrong number of labels is told when it is written
        hints = hints_of(stated)
        if count:
            hints = dataclasses.replace(hints, num_classes=count)
        try:
            plan = plan_of(info, info.outputs, input_size(info, stated.input.size), hints)
            break
        except ModelError as error:
            refusal = refusal or str(error)
    known = Known(path, info, plan, refusal, {})
    known.facts.update(_model(known) | _input(known) | _conversion(known) | _calibration(info))
    return known


def _model(known: Known) -> dict[str, Fact]:
    facts = {"digest": Fact(models.digest(known.path), "first 12 hex digits of the file's SHA-256")}
    if known.info.labels:
        facts["labels"] = Fact(list(known.info.labels), "the file's metadata")
    plan = known.plan
    if plan is None:
        return facts
    facts["head"] = Fact(plan.head, "the shapes of the outputs")
    if plan.head not in BY_DEFINITION:
        facts["activation"] = Fact(plan.activation, plan.evidence)
    if not known.info.labels and plan.num_classes:
        facts["num_classes"] = Fact(plan.num_classes, "the shapes of the outputs")
    return facts


def _input(known: Known) -> dict[str, Fact]:
    info, pixels, facts = known.info, known.pixels, {}
    if info.input_size and all(info.input_size):
        facts["input.size"] = Fact(list(info.input_size), "the shape of the input")
    if info.format == "onnx" and info.picture and info.picture.layout in ("nchw", "nhwc"):
        facts["input.layout"] = Fact(info.picture.layout, "the shape of the input")
    if pixels and pixels.color in ("rgb", "bgr"):
        facts["input.color"] = Fact(pixels.color, "the conversion's settings in the file")
    return facts


def _conversion(known: Known) -> dict[str, Fact]:
    info, facts = known.info, {}
    tool = versions.KNOWN.get(info.format)
    name = tool.toolkit if tool else info.versions.toolkit.partition(" ")[0]
    version = info.versions.toolkit if tool else info.versions.toolkit.partition(" ")[2]
    kinds = sorted({info.grids[s.name].dtype.name for s in info.outputs if s.name in info.grids})
    values = {
        "toolkit": name if info.versions.toolkit else "",
        "version": version,
        "target": info.target,
        "source": PurePath(info.metadata.get("ONNX_MODEL", "")).name,
        "quantization": ", ".join(kinds) or "none" if info.format == "rknn" else "",
    }
    for key, value in values.items():
        if value:
            facts[f"conversion.{key}"] = Fact(value, "the file")
    for key, text in sorted(info.metadata.items()):
        value = text.strip().rstrip(";")
        plain = (
            value
            and re.fullmatch(r"[A-Za-z0-9_-]+", key)
            and value.isprintable()
            and value[0] != "/"
        )
        if plain and len(value) <= LONGEST and key not in NO_PARAMETERS:
            facts[f"conversion.parameters.{key}"] = Fact(value, "the file")
    return facts


def _calibration(info: ModelInfo) -> dict[str, Fact]:
    facts = {}
    if info.grids and info.calibration:
        facts["calibration.method"] = Fact(info.calibration, "the file")
    if folder := PurePath(info.metadata.get("CALI_DIR", "").strip("; ")).name:
        facts["calibration.source"] = Fact(folder, "the file")
    return facts
