"""What `npud inspect` prints: aligned text for people."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from postprocess.plan import Level
from postprocess.tensor import TensorSpec
from runtime.cli._inspect_json import roles_of
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
        findings_text(findings),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


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
    for stride in plan.strides:
        levels = [level for level in plan.levels if level.stride == stride]
        text = f"stride {stride:<3} {_roles(levels[0], [spec.name for spec in outputs])}"
        shown = [f"{w:g}x{h:g}" for level in levels if level.anchor for w, h in (level.anchor,)]
        lines += _entry("", printable(text + (f", anchors {' '.join(shown)}" if shown else "")))
    return lines


def _roles(level: Level, names: list[str]) -> str:
    """What is in which output: "boxes box_8, classes cls_8" or "boxes, classes in raw_8"."""
    roles = roles_of(level)
    if len(set(roles.values())) == 1:
        return f"{', '.join(map(ROLES.__getitem__, roles))} in {names[level.cls]}"
    return ", ".join(f"{ROLES[role]} {names[index]}" for role, index in roles.items())


def findings_text(findings: list[Finding]) -> list[str]:
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
