"""Job: one conversion, in words that do not depend on the vendor; Made: what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from npud.errors import ConfigError

Quantization = Literal["int8", "fp16"]
Setting = str | int | float | bool | list[Any] | dict[str, Any] | None


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be converted, and how.

    target is the vendor's word for the chip; mean and std are per channel, in the order of `color`;
    pictures (N, H, W, 3) uint8 in that order, None for fp16; settings are the toolkit's own
    parameters, over those that follow from the rest; output is the file to write, None where the
    model is only simulated; folder is where by-products stay.
    """

    source: Path
    input_name: str
    target: str
    quantization: Quantization
    color: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    settings: Mapping[str, Setting]
    pictures: NDArray[np.uint8] | None
    output: Path | None
    folder: Path


@dataclass(frozen=True)
class Made:
    """What the toolkit says of a finished conversion.

    parameters are what it was given; quantized is the simulated model in `folder`, "" where the
    source is simulated.
    """

    version: str
    parameters: dict[str, Setting]
    quantized: str = ""


def check_settings(settings: Mapping[str, Setting], own: Mapping[str, str]) -> None:
    """Raise ConfigError for a setting that npud makes itself; own: name -> where it comes from."""
    for name in settings:
        if name in own:
            raise ConfigError(f"--set {name}: npud sets it: {own[name]}")
