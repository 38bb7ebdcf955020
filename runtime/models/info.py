"""ModelInfo: what a model file says about itself, in one shape for every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class OutputOrigin:
    """The operation an output comes from, looking through reshapes, and how that is known."""

    op: str
    evidence: str


@dataclass(frozen=True)
class ModelInfo:
    """Facts read from the file itself; what it does not say is empty or None.

    input_size is (height, width) in pixels.
    """

    format: str
    labels: tuple[str, ...] = ()
    input_size: tuple[int, int] | None = None
    origins: Mapping[str, OutputOrigin] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
