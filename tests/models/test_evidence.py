"""Logits or probabilities, from graph and quantization grid."""

from __future__ import annotations

import numpy as np
import pytest

from postprocess.tensor import Quantization, TensorSpec
from runtime.models import evidence
from runtime.models.info import Grid, ModelInfo, OutputOrigin


def spec(dtype: str, scale: float | list[float], zero: int = 0) -> TensorSpec:
    if isinstance(scale, list):
        grid = Quantization(np.array(scale, np.float32), np.full(len(scale), zero, np.int32))
    else:
        grid = Quantization.per_tensor(scale, zero)
    return TensorSpec("cls", (1, 80, 8, 8), np.dtype(dtype), "", grid)


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (spec("int8", 1 / 255, -128), "probabilities"),
        (spec("int8", 0.003075, -128), "probabilities"),  # rknn, calibrated up to 0.78
        (spec("int8", 1 / 255, -127), "probabilities"),  # its dequantized zero is -0.004
        (spec("uint8", 1 / 255, 0), "probabilities"),
        (spec("int8", 1 / 127, 0), "probabilities"),  # symmetric
        (spec("int16", 1 / 32767, 0), "probabilities"),
        (spec("int8", 0.18, 90), "logits"),  # scales of 0.16 to 0.21 were measured
        (spec("int8", [0.1, 0.2], 0), "logits"),
        (spec("int8", 2.512, -128), "logits"),
        (spec("int8", 0.005, 0), None),  # ±0.64: too narrow for logits, not probabilities
        (spec("int8", 0.006, -128), None),  # 0 to 1.53
        (spec("int32", 0.001), None),
    ],
)
def test_the_grid_of_a_class_output(tensor: TensorSpec, expected: str | None) -> None:
    activation, why = evidence.from_grid(tensor)
    assert activation == expected
    assert "cls" in why


def test_a_calibrated_range_says_more_than_the_grid() -> None:
    narrow = spec("int8", 0.005, 0)
    assert evidence.from_grid(narrow, (0.0, 0.6))[0] == "probabilities"
    assert evidence.from_grid(spec("int32", 1e-4), (-107.0, 4.2)) == (
        "logits",
        "cls was calibrated on -107 to 4.2",
    )
    assert evidence.from_grid(spec("int8", 1 / 255, -128), (0.0, 0.0))[0] == "probabilities"
    plain = TensorSpec("cls", (1, 80), np.dtype("float16"))
    assert evidence.from_grid(plain) == (None, "cls is float16: its grid says nothing")


def info(op: str, grid: Grid | None) -> ModelInfo:
    origins = {"cls": OutputOrigin(op, f"the graph's last node is {op}")}
    return ModelInfo("rknn", origins=origins, grids={"cls": grid} if grid else {})


PROBABILITIES = Grid(np.dtype("int8"), Quantization.per_tensor(1 / 255, -128), (0.0, 1.0))


def test_graph_and_grid_together() -> None:
    assert evidence.of_outputs(info("Sigmoid", None), ["cls"])[0] == "probabilities"
    assert evidence.of_outputs(info("Mul", PROBABILITIES), ["cls"])[0] == "probabilities"
    both = evidence.of_outputs(info("Sigmoid", PROBABILITIES), ["cls"])
    assert both == ("probabilities", "the graph's last node is Sigmoid")
    activation, why = evidence.of_outputs(info("Conv", PROBABILITIES), ["cls"])
    assert activation is None
    assert "contradictory" in why
    assert evidence.of_outputs(info("Conv", PROBABILITIES), ["cls"], grids=False)[0] == "logits"
    assert evidence.of_outputs(info("Mul", None), ["cls"]) == (None, "the graph's last node is Mul")
    assert evidence.of_outputs(info("Mul", None), ["other"]) == (None, "the file does not say")
