"""What `npud inspect` prints: aligned text for people, one object for programs."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click

from postprocess.plan import HeadPlan, Level
from postprocess.tensor import Quantization, TensorSpec
from runtime.cli._table import printable
from runtime.models import versions
from runtime.models.finding import Finding, Subject
from runtime.models.info import Grid, ModelInfo, Pixels

WIDTH = 100
INDENT = 11
STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}
FORMATS = {
    "recording": "a recording for backend replay",
    "onnx": "ONNX",
    "rknn": "RKNN",
    "bin": "D-Robotics .bin",
}
ROLES = {"box": "boxes", "obj": "objectness", "cls": "classes", "score_sum": "score sum"}


def as_text(path: Path, subject: Subject, findings: list[Finding]) -> str:
    """The whole page; control characters in the file's strings are shown as "?"."""
    info = subject.info
    blocks = [
        [_title(path, info)],
        _made(info),
        [line for spec in info.inputs for line in _input(spec, info)],
        _outputs(info),
        _head(subject),
        _findings(findings),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


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


def _title(path: Path, info: ModelInfo) -> str:
    kind = FORMATS[info.format]
    if info.format == "rknn":
        kind += f" format {info.versions.format}"
    parts = [click.style(printable(path.name), bold=True), kind]
    parts += [f"for {printable(info.target)}"] if info.target else []
    parts += [f"“{printable(info.name[:60])}”"] if info.name not in ("", "rknn model") else []
    return " · ".join([*parts, _bytes(path.stat().st_size)])


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _made(info: ModelInfo) -> list[str]:
    made, known = info.versions, versions.KNOWN.get(info.format)
    parts = [f"{known.toolkit} {made.toolkit}".strip() if known else made.toolkit]
    parts += [f"compiler {made.compiler}"] if made.compiler else []
    parts += [f"opset {made.opset}"] if made.opset else []
    parts += [f"from {info.metadata['framework']}"] if info.metadata.get("framework") else []
    lines = _entry("made by", printable(", ".join(part[:120] for part in parts if part)))
    lines += _entry("needs", printable(versions.needs(info)))
    data = info.metadata.get("CALI_DIR", "").strip(";")
    method = info.calibration[:100] + (f", with {data[:200]}" if data else "")
    if info.format == "rknn":
        kinds = sorted(
            {info.grids[s.name].dtype.name for s in info.outputs if s.name in info.grids}
        )
        return lines + _entry(
            "quantized", printable(", ".join([*kinds, method])) if kinds else "no"
        )
    return lines + _entry("calibrated", printable(method))


def _input(spec: TensorSpec, info: ModelInfo) -> list[str]:
    pixels = info.pixels.get(spec.name)
    lines = _entry(
        "input", f"{printable(spec.name)} {_shape(spec)} {spec.dtype.name} {_layout(spec)}"
    )
    return lines + (_entry("", printable(_fed(pixels))) if pixels else [])


def _fed(pixels: Pixels) -> str:
    color = pixels.color.upper() or "unknown"
    fed = (pixels.feed or "unknown").upper()
    text = f"fed as {fed} bytes" + (f", trained on {color}" if color != fed else "")
    if pixels.std or pixels.mean:
        mean, std = _per_channel(pixels.mean, "0"), _per_channel(pixels.std, "1")
        return f"{text}; inside: (pixel - {mean}) / {std}"
    return f"{text}; unchanged inside"


def _per_channel(values: tuple[float, ...], default: str) -> str:
    shown = [f"{value:g}" for value in values]
    return default if not shown else shown[0] if len(set(shown)) == 1 else f"[{', '.join(shown)}]"


def _outputs(info: ModelInfo) -> list[str]:
    rows = [("name", "shape", "type", "layout", "scale", "zero", "calibrated")]
    for spec in info.outputs:
        grid = info.grids.get(spec.name)
        kind = spec.dtype.name
        if grid and grid.dtype != spec.dtype:
            kind = f"{grid.dtype.name} → {kind}"
        cells = (printable(spec.name[:40]), _shape(spec), kind, _layout(spec))
        rows.append((*cells, *_grid(grid)))
    used = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = [max(len(row[i]) for row in rows) for i in used]
    lines = ["  ".join(row[i].ljust(w) for i, w in zip(used, widths)).rstrip() for row in rows]
    return [
        (f"{'outputs':<{INDENT}}" if number == 0 else " " * INDENT)
        + (click.style(line, dim=True) if number == 0 else line)
        for number, line in enumerate(lines)
    ]


def _grid(grid: Grid | None) -> tuple[str, str, str]:
    if grid is None:
        return "", "", ""
    scale, zero = grid.quantization.scale, grid.quantization.zero_point
    if scale.ndim:
        least, most = f"{scale.min():.3g}", f"{scale.max():.3g}"
        shown = f"per channel, {least}" + (f"…{most}" if least != most else "")
        zeros = str(zero.flat[0]) if (zero == zero.flat[0]).all() else f"{zero.min()}…{zero.max()}"
    else:
        shown, zeros = f"{float(scale):.4g}", str(int(zero))
    span = f"{grid.range[0]:.4g}…{grid.range[1]:.4g}" if grid.range else ""
    return shown, zeros, span


def _head(subject: Subject) -> list[str]:
    plan, outputs = subject.plan, subject.info.outputs
    if plan is None:
        return _entry("head", "not recognised")
    lines = _entry(
        "head", printable(str(plan).removesuffix(f", {plan.activation} ({plan.evidence})"))
    )
    lines += _entry("", printable(f"{plan.activation}: {plan.evidence}"))
    for level in plan.levels if plan.levels[0].stride else ():
        roles = [f"{ROLES[role]} {outputs[index].name}" for role, index in _roles(level).items()]
        lines += _entry("", printable(f"stride {level.stride:<3} " + ", ".join(roles)))
    return lines


def _roles(level: Level) -> dict[str, int]:
    """Which output plays which role, e.g. {"box": 0, "cls": 1}."""
    found = {role: getattr(level, role, None) for role in ROLES}
    return {role: index for role, index in found.items() if index is not None}


def _findings(findings: list[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        first, *rest = textwrap.wrap(printable(finding.text), WIDTH - INDENT) or [""]
        mark = click.style(f"{finding.level:<{INDENT}}", fg=STYLES[finding.level])
        lines += [mark + first, *(" " * INDENT + line for line in rest)]
        lines += _entry("", printable(f"→ {finding.remedy}")) if finding.remedy else []
    return lines


def _entry(title: str, text: str) -> list[str]:
    """A title with its wrapped text beside it; nothing where there is no text."""
    wrapped = textwrap.wrap(text, WIDTH - INDENT)
    return [f"{title if i == 0 else '':<{INDENT}}{line}" for i, line in enumerate(wrapped)]


def _shape(spec: TensorSpec) -> str:
    return f"[{', '.join(str(side) if side else '?' for side in spec.shape)}]"


def _layout(spec: TensorSpec) -> str:
    return spec.layout.upper()


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
                "outputs": {role: info.outputs[i].name for role, i in _roles(level).items()},
            }
            for level in plan.levels
        ],
    }
