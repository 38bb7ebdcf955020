"""What `npud inspect --json` prints: one object for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from postprocess.plan import HeadPlan, Level
from postprocess.tensor import Quantization, TensorSpec
from runtime.models import versions
from runtime.models.finding import Finding, Subject
from runtime.models.info import ModelInfo

ROLES = ("box", "obj", "cls", "score_sum")


def as_json(path: Path, subject: Subject, findings: list[Finding]) -> dict[str, Any]:
    """Everything that is known, in JSON's types; what is unknown is null or empty."""
    info = subject.info
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "format": info.format,
        "name": info.name,
        "target": info.target,
        "versions": vars(info.versions),
        "needs": versions.needs(info),
        "calibration": info.calibration,
        "input_size": info.input_size,
        "labels": list(subject.labels),
        "inputs": [_tensor(spec, info) for spec in info.inputs],
        "outputs": [_tensor(spec, info) for spec in info.outputs],
        "head": _plan(subject.plan, info) if subject.plan else None,
        "refusal": subject.refusal or None,
        "findings": [vars(finding) for finding in findings],
        "metadata": dict(info.metadata),
    }


def roles_of(level: Level) -> dict[str, int]:
    """Which output plays which role, e.g. {"box": 0, "cls": 1}."""
    found = {role: getattr(level, role) for role in ROLES}
    return {role: index for role, index in found.items() if index is not None}


def _tensor(spec: TensorSpec, info: ModelInfo) -> dict[str, Any]:
    grid, pixels = info.grids.get(spec.name), info.pixels.get(spec.name)
    origin = info.origins.get(spec.name)
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype.name,
        "layout": spec.layout or None,
        "quantization": _quantization(spec.quantization),
        "stored": {
            "dtype": grid.dtype.name,
            "quantization": _quantization(grid.quantization),
            "calibrated_range": grid.range,
        }
        if grid
        else None,
        "origin": vars(origin) if origin else None,
        "pixels": vars(pixels) if pixels else None,
    }


def _quantization(quantization: Quantization | None) -> dict[str, Any] | None:
    if quantization is None:
        return None
    return {
        "scale": quantization.scale.tolist(),
        "zero_point": quantization.zero_point.tolist(),
    }


def _plan(plan: HeadPlan, info: ModelInfo) -> dict[str, Any]:
    return {
        "name": plan.head,
        "classes": plan.num_classes,
        "input_size": list(plan.input_size),
        "activation": plan.activation,
        "evidence": plan.evidence,
        "levels": [
            {
                "stride": level.stride,
                "grid": list(level.grid),
                "layout": level.layout,
                "outputs": {role: info.outputs[i].name for role, i in roles_of(level).items()},
                "anchor": level.anchor,
            }
            for level in plan.levels
        ],
    }
