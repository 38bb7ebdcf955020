"""What lies beside a converted model: its manifest, its golden sample; and the verdict on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from npud._version import __version__
from npud.errors import ConfigError
from postprocess.plan import HeadPlan
from runtime import config, models
from runtime.detector import Detector, read_model
from runtime.drafting.dump import dump
from runtime.frame import Frame
from runtime.golden import reference
from runtime.golden.canary import sample_of
from runtime.golden.judge import judge
from runtime.golden.reference import Reference
from runtime.golden.verdict import Verdict
from runtime.models import manifest as manifests
from runtime.models.manifest import Calibration, Conversion, Golden, Input, Manifest
from runtime.sources.images import read_image
from runtime.toolkits.calibration import list_images
from runtime.toolkits.convert import Converted, Order

TRIED = 8  # calibration pictures of which one is chosen as golden picture
METHODS = ("quantized_algorithm", "calibration_type")


def golden_of(order: Order, detector: Detector, picture: Path | None) -> Reference:
    """What the float model finds in a picture; raises ConfigError where there is none to take.

    It is the one given, the source's golden sample, or a calibration picture.
    """
    if picture is not None:
        return reference.make(detector, read_image(picture))
    known = sample_of(detector.files)
    if known is not None:
        return known
    return reference.make(detector, _busiest(order, detector))


def _busiest(order: Order, detector: Detector) -> NDArray[np.uint8]:
    """Of a few calibration pictures the one in which the float model finds most."""
    if order.calibration is None:
        raise ConfigError(
            "--picture: expected a picture to verify the result on: the model's manifest has no "
            "[golden], and there are no calibration pictures"
        )
    pictures = [read_image(path) for path in list_images(order.calibration, TRIED)]
    counts = [len(detector.detect(Frame(picture))[0]) for picture in pictures]
    return pictures[int(np.argmax(counts))]


def write(order: Order, detector: Detector, done: Converted, golden: Reference) -> Path:
    """Write the manifest and the golden sample; returns the manifest's path."""
    stem = order.output.with_suffix("")
    image = stem.with_name(stem.name + ".golden.png")
    arrays = stem.with_name(stem.name + ".golden.npz")
    reference.save(golden, image, arrays)
    limits = detector.files.manifest.golden
    stated = limits or Golden(image.name, arrays.name)
    stated = msgspec.structs.replace(stated, image=image.name, reference=arrays.name)
    manifest = _manifest(order, detector, done, stated)
    path = manifests.beside(order.output)
    comment = f"Made by npud convert {__version__} from {order.source.name}."
    path.write_text(dump(manifest, comment), encoding="utf-8")
    return path


def verify(output: Path, backend: str, golden: Reference) -> Verdict:
    """Judge the converted file in its vendor's simulator; raises NpudError."""
    settings = config.Model(path=str(output))
    files = read_model(settings)
    detector = Detector(files, settings, config.Backend(name=backend))
    try:
        limits = files.manifest.golden
        if limits is None:
            raise ConfigError(f"{manifests.beside(output)}: expected a table [golden], got none")
        return judge(detector, golden, limits)
    finally:
        detector.close()


def _manifest(order: Order, detector: Detector, done: Converted, golden: Golden) -> Manifest:
    own, plan, spec = detector.files.manifest, detector.plan, detector.input
    nv12 = order.target.vendor == "drobotics"
    fed = Input(
        color=None if nv12 or spec.color == "nv12" else spec.color,
        letterbox=spec.letterbox,
        pad_value=spec.pad_value,
    )
    return msgspec.structs.replace(
        own,
        digest=models.digest(order.output),
        labels=detector.files.labels or None,
        **_head(own, plan),
        input=fed,
        conversion=_conversion(order, done),
        calibration=_calibration(done),
        golden=golden,
    )


def _head(own: Manifest, plan: HeadPlan) -> dict[str, Any]:
    """What the float file's graph showed, and the converted one may not."""
    return {"head": own.head or plan.head, "activation": own.activation or plan.activation}


def _conversion(order: Order, done: Converted) -> Conversion:
    flat = {
        key: value if isinstance(value, str | int | float | bool) else msgspec.json.encode(value)
        for key, value in done.made.parameters.items()
    }
    return Conversion(
        toolkit=done.toolkit,
        version=done.made.version,
        target=order.target.word,
        source=order.source.name,
        source_digest=models.digest(order.source),
        quantization=order.quantization,
        parameters={k: v.decode() if isinstance(v, bytes) else v for k, v in flat.items()},
    )


def _calibration(done: Converted) -> Calibration:
    used = done.calibration
    if used is None:
        return Calibration()
    given = done.made.parameters
    method = next((str(given[key]) for key in METHODS if key in given), "normal")
    return Calibration(
        count=len(used.pictures), digest=used.digest, source=used.source, method=method
    )
