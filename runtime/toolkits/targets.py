"""The chips that npud convert makes models for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from npud.errors import ConfigError
from runtime.toolkits.job import Quantization
from runtime.validate import nearest


@dataclass(frozen=True)
class Target:
    """A chip: the vendor's word for it, its model files' suffix, and what simulates them."""

    vendor: Literal["rockchip", "drobotics"]
    word: str
    suffix: str
    simulator: str
    quantizations: tuple[Quantization, ...]


def _rockchip(word: str) -> Target:
    return Target("rockchip", word, ".rknn", "rknn-sim", ("int8", "fp16"))


TARGETS = {
    **{word: _rockchip(word) for word in ("rk3588", "rk3576", "rk3568", "rk3566", "rk3562")},
    "rdkx5": Target("drobotics", "bayes-e", ".bin", "hobot-sim", ("int8",)),
}


def target_of(name: str, quantization: Quantization) -> Target:
    """A target by npud's name; raises ConfigError."""
    if name not in TARGETS:
        raise ConfigError(f"--target: unknown target {name}{nearest(name, list(TARGETS))}")
    target = TARGETS[name]
    if quantization not in target.quantizations:
        expected = " or ".join(target.quantizations)
        raise ConfigError(f"--quantization: expected {expected} for {name}, got {quantization}")
    return target
