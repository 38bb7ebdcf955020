"""Making a golden sample with a float model, fed as the deployed one is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npud.errors import ConfigError, ModelError
from runtime import config
from runtime.detector import Detector, ModelFiles, read_model
from runtime.golden.reference import Reference, make
from runtime.models.info import Pixels
from runtime.models.manifest import Input, Manifest

FEW = 5  # detections: fewer make a coarse measure


def create(
    deployed: Manifest,
    pixels: NDArray[np.uint8],
    settings: config.Config,
    scaling: Pixels | None = None,
) -> Reference:
    """Run the float model of `settings` on a picture.

    A manifest beside the float model counts; without one it is read, labelled and fed as `deployed`
    says, where `scaling` has the mean and std that the deployed file applies itself.  Raises
    ModelError, BackendUnavailable or ConfigError.
    """
    path = Path(settings.model.path or "")
    files = read_model(settings.model)
    if not files.manifest_digest:
        files = dataclasses.replace(files, manifest=_for_float(files, deployed, scaling))
    detector = Detector(files, settings.model, settings.backend)
    try:
        if any(spec.quantization is not None for spec in detector.backend.outputs):
            raise ModelError(f"model {path}: expected a float model as the reference, got integers")
        return make(detector, pixels)
    finally:
        detector.close()


def _for_float(files: ModelFiles, deployed: Manifest, scaling: Pixels | None) -> Manifest:
    """What holds of the float model, too: not the head, which may have been cut elsewhere."""
    fed, std = deployed.input, deployed.input.std
    mean = fed.mean
    if std is None and scaling and scaling.std:
        std = _three(scaling.std)
        mean = _three(scaling.mean or (0.0,))
    missing = [
        f"input.{key}"
        for key, value in (("color", fed.color), ("letterbox", fed.letterbox),
                           ("pad_value", fed.pad_value), ("std", std))
        if value is None
    ]  # fmt: skip
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: needed to feed the reference model {files.path} (--set), or a "
            f"manifest of its own beside it"
        )
    return Manifest(
        labels=deployed.labels if not files.info.labels else None,
        num_classes=deployed.num_classes if not files.info.labels else None,
        nms=deployed.nms,
        input=Input(
            color=fed.color,
            letterbox=fed.letterbox,
            pad_value=fed.pad_value,
            mean=mean,
            std=std,
            size=fed.size,
        ),
    )


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    first, *rest = values
    second, third = rest if len(rest) == 2 else (first, first)
    return first, second, third
