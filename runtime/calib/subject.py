"""Subject: what the checks of a calibration set are given, and how they word lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.calib.folder import CalibrationSet
from runtime.calib.sample import Sample
from runtime.models.manifest import Manifest

SHOWN = 3  # examples


@dataclass(frozen=True)
class Subject:
    """A set; the model's input (height, width) and manifest, as far as known; a camera's frames."""

    found: CalibrationSet
    size: tuple[int, int] | None = None
    manifest: Manifest = Manifest()  # noqa: RUF009 - frozen
    camera: tuple[Sample, ...] = ()

    @property
    def samples(self) -> list[Sample]:
        """The pictures of the set."""
        return self.found.samples


def values(samples: Iterable[Sample], key: str) -> NDArray[np.float64]:
    """One figure of all pictures."""
    return np.array([getattr(sample, key) for sample in samples], np.float64)


def some(names: list[str]) -> str:
    """The first few, and how many more."""
    return ", ".join(names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    )
