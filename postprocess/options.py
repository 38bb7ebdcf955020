"""Options: the thresholds and choices of one decoder, checked once when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from npud.errors import ConfigError
from postprocess.plan import Activation, HeadPlan

NmsMode = Literal["class", "agnostic", "none"]
SigmoidMode = Literal["table", "exact", "none"]
Interpolation = Literal["linear", "nearest"]
NMS_MODES: tuple[NmsMode, ...] = get_args(NmsMode)
SIGMOID_MODES: tuple[SigmoidMode, ...] = get_args(SigmoidMode)
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)
MAX_DETECTIONS = 100_000
TABLE_SIZES = (16, 65_536)
TABLE_RANGES = (1.0, 100.0)


@dataclass(frozen=True)
class Options:
    """Choices of a decoder.

    `score_threshold` and `iou_threshold` are in [0, 1]: a box passes at score ≥ threshold and is
    suppressed at IoU > threshold (so 1 suppresses nothing).  `max_detections` cuts after NMS.
    `nms` compares boxes of the same class, of all classes, or not at all.

    `sigmoid` "table": types of up to 16 bits get a table of all their values, right to rounding
    (3e-8); float32 and int32 one of `table_size` steps on [-table_range, table_range], which
    saturates outside (error ≤ σ(-table_range)); "linear" interpolation is right to
    step² · 0.0962 / 8 plus 1.5e-7, "nearest" to step / 8.  "exact" is a polynomial, right to
    1.5e-7.  "none" states that the NPU did it: logits are refused.

    `multi_label`: of the best `max_detections` cells, the best `max_detections` pairs of a cell and
    any class that passes, instead of each cell's best class: what one-to-one heads (YOLOv10,
    YOLO26) do in their graph.  For heads without objectness, and without NMS.

    `use_score_sum` skips cells whose score sum is below the threshold; a saturated sum never does.

    Raises ConfigError for a value out of range, naming the key.
    """

    score_threshold: float = 0.25
    iou_threshold: float = 0.45
    max_detections: int = 300
    nms: NmsMode = "class"
    multi_label: bool = False
    sigmoid: SigmoidMode = "table"
    table_size: int = 1024
    table_interpolation: Interpolation = "linear"
    table_range: float = 10.0
    use_score_sum: bool = True

    def __post_init__(self) -> None:
        _check_fraction("score_threshold", self.score_threshold)
        _check_fraction("iou_threshold", self.iou_threshold)
        _check_integer("max_detections", self.max_detections, 1, MAX_DETECTIONS)
        _check_choice("nms", self.nms, NMS_MODES)
        _check_choice("sigmoid", self.sigmoid, SIGMOID_MODES)
        _check_integer("table_size", self.table_size, *TABLE_SIZES)
        _check_choice("table_interpolation", self.table_interpolation, INTERPOLATIONS)
        _check_number("table_range", self.table_range, *TABLE_RANGES)


def threshold_in_domain(score_threshold: float, activation: Activation) -> float:
    """Bring the score threshold into the domain of the class tensor, as a float32 value.

    Probabilities: the threshold.  Logits: log(t / (1 - t)) in double, -inf at 0, +inf at 1.
    Rounding to nearest loses no score: no float32 lies between a number and its rounding.
    """
    if activation == "probabilities":
        return float(np.float32(score_threshold))
    if score_threshold <= 0.0:
        return -math.inf
    if score_threshold >= 1.0:
        return math.inf
    return float(np.float32(math.log(score_threshold) - math.log1p(-score_threshold)))


def uses_score_sum(plan: HeadPlan, options: Options) -> bool:
    """Whether score sums are looked at: a sum of probabilities is no less than each of them."""
    return options.use_score_sum and plan.activation == "probabilities"


def least_real(threshold: float, dtype: np.dtype[np.generic]) -> np.float32:
    """Return the least real value that passes: of integers two float32 steps below `threshold`.

    Scale and product are rounded there, and a score exactly at the threshold must pass.
    """
    exact = dtype.kind == "f" or math.isinf(threshold)
    least: np.float32 = np.float32(threshold if exact else threshold - abs(threshold) / 4194304.0)
    return least


def _check_number(key: str, value: object, low: float, high: float) -> None:
    number = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
    if not number or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise ConfigError(f"{key}: expected a number from {low:g} to {high:g}, got {value!r}")


def _check_fraction(key: str, value: object) -> None:
    _check_number(key, value, 0.0, 1.0)


def _check_integer(key: str, value: object, low: int, high: int) -> None:
    integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not integer or not low <= int(value) <= high:  # type: ignore[call-overload]
        raise ConfigError(f"{key}: expected an integer from {low} to {high}, got {value!r}")


def _check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        expected = ", ".join(f'"{choice}"' for choice in choices)
        raise ConfigError(f"{key}: expected one of {expected}, got {value!r}")
