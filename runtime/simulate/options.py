"""Simulate: which numerics of an NPU are emulated; the config's [backend.simulate]."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from npud.errors import ConfigError

# What no setting emulates: said in the log, and in docs/simulator.md.
NOT_MODELLED = (
    "int8 weights and activations inside the network, the width of the NPU's accumulators, "
    "the board's own sigmoid error, layout conversions, speed"
)


class Simulate(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[backend.simulate]: backend onnx: numerics of an NPU, emulated (docs/simulator.md)."""

    activations: Annotated[
        Literal["float32", "float16"],
        Meta(description="float16: weights, and what every operation gives, are rounded to it"),
    ] = "float32"
    sigmoid: Annotated[
        Literal["exact", "float16", "table"],
        Meta(
            description="the sigmoids at the end of the graph: in float16 step by step, or from a "
            "table, nearest entry, saturating at its ends"
        ),
    ] = "exact"
    sigmoid_table: Annotated[
        int, Meta(ge=2, le=1 << 20, description="entries of that table, both ends included")
    ] = 1024
    sigmoid_range: Annotated[
        tuple[float, float], Meta(description="lowest and highest logit of that table")
    ] = (-8.0, 8.0)
    outputs: Annotated[
        Literal["float", "int8"],
        Meta(description="int8: outputs are rounded to `grids` and decoded as integers"),
    ] = "float"
    grids: Annotated[
        str | None,
        Meta(
            description="scale and zero point of each output: an .rknn or .bin, matched by shape, "
            "or a .toml with [NAME] scale and zero_point"
        ),
    ] = None

    @property
    def active(self) -> bool:
        """Whether anything is emulated."""
        return self.changes_the_graph or self.outputs != "float"

    @property
    def changes_the_graph(self) -> bool:
        """Whether numerics within the model are emulated, not only those of its outputs."""
        return (self.activations, self.sigmoid) != ("float32", "exact")

    def check(self) -> None:
        """Raise ConfigError for keys that do not fit together."""
        low, high = self.sigmoid_range
        if not low < high:
            raise ConfigError(
                f"backend.simulate.sigmoid_range: expected [low, high], got {[low, high]}"
            )
        if (self.outputs == "int8") != (self.grids is not None):
            raise ConfigError(
                'backend.simulate: expected outputs = "int8" and `grids` together, got one'
            )

    def __str__(self) -> str:
        parts = [f"{self.activations} activations"]
        if self.sigmoid == "table":
            low, high = self.sigmoid_range
            parts.append(f"sigmoid table of {self.sigmoid_table} on [{low:g}, {high:g}]")
        elif self.sigmoid == "float16":
            parts.append("sigmoid in float16")
        if self.outputs == "int8":
            parts.append(f"int8 outputs on the grids of {self.grids}")
        return ", ".join(parts)
