"""Real pairs of variants through `npud ab`: pictures with labels, and a video.

    python -m benchmarks.ab YOLOV8N.onnx FILE.rknn COCO_DIR VIDEO [TITLE]

The model is cut by `npud prepare`; FILE.rknn's grids are those of the class probabilities, and a
grid for logits is measured on the pictures.  mAP and F1 with intervals are of the pictures alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HEAD = (
    "pair",
    "frames",
    "score shift",
    "only in a %",
    "only in b %",
    "mAP50-95, b − a",
    "F1, b − a",
)


def main() -> None:
    """Print the table, or the rows whose title contains a fifth argument."""
    model, rknn, coco, video = (Path(argument).resolve() for argument in sys.argv[1:5])
    only = sys.argv[5] if len(sys.argv) > 5 else ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        npud("prepare", str(model), "-o", str(folder))
        logits = folder / f"{model.stem}.cpu-sigmoid.onnx"
        probabilities = folder / f"{model.stem}.npu-sigmoid.onnx"
        grids = folder / "grids.toml"
        measure = [sys.executable, "-m", "runtime.simulate.measure"]
        ended = subprocess.run(
            [*measure, str(logits), str(coco / "images")], check=True, capture_output=True
        )
        grids.write_bytes(ended.stdout)
        print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
        for title, a, b in pairs(logits, probabilities, grids, rknn):
            if only not in title:
                continue
            row(f"{title}; COCO", a, b, "--labels", str(coco / "instances.json"))
            row(f"{title}; video", a, b, "--video", str(video), "--limit", "300")


def pairs(
    logits: Path, probabilities: Path, grids: Path, rknn: Path
) -> list[tuple[str, list[str], list[str]]]:
    """(title, a's options, b's options): the model, then KEY=VALUE."""
    cpu, npu = str(logits), str(probabilities)
    found = [("logits + table on the CPU / probabilities from the graph", [cpu], [npu])]
    found += [
        (f"exact sigmoid / nearest of a table of {size}", [cpu, "model.sigmoid=exact"],
         [npu, "backend.simulate.sigmoid=table", f"backend.simulate.sigmoid_table={size}"])
        for size in (64, 256, 1024, 4096)
    ]  # fmt: skip
    found += [
        ("exact sigmoid / sigmoid in float16, saturating", [cpu, "model.sigmoid=exact"],
         [npu, "backend.simulate.activations=float16", "backend.simulate.sigmoid=float16"]),
        ("int8 probabilities / int8 logits",
         [npu, "backend.simulate.outputs=int8", f"backend.simulate.grids={rknn}"],
         [cpu, "backend.simulate.outputs=int8", f"backend.simulate.grids={grids}"]),
        ("letterboxed / stretched input", [cpu], [cpu, "model.input.letterbox=stretch"]),
        ("a / a", [cpu], [cpu]),
    ]  # fmt: skip
    return found


def row(title: str, a: list[str], b: list[str], *frames: str) -> None:
    """Print one row."""
    options = [x for s in a[1:] for x in ("--set-a", s)] + [
        x for s in b[1:] for x in ("--set-b", s)
    ]
    told = json.loads(npud("ab", a[0], b[0], *options, *frames, "--json"))
    figures = told["figures"]
    cells = [interval(figures[k], 4 if k == "score_shift" else 2)
             for k in ("score_shift", "only_a", "only_b")]  # fmt: skip
    labels = told.get("labels", {}).get("differences", {})
    cells += [interval(labels[k], 4) if k in labels else "" for k in ("mAP50-95", "F1")]
    print(f"| {title} | {told['frames']} | {' | '.join(cells)} |", flush=True)


def interval(one: dict[str, Any], digits: int) -> str:
    """A figure with its interval, in bold where that excludes zero."""
    marks = [one["value"], one["low"], one["high"]]
    tiny = any(marks) and max(map(abs, marks)) < 0.5 * 10**-digits
    value, low, high = (f"{mark:+.0e}" if tiny else f"{mark:+.{digits}f}" for mark in marks)
    text = f"{value} [{low}, {high}]"
    return f"**{text}**" if one["low"] > 0 or one["high"] < 0 else text


def npud(*arguments: str) -> str:
    """Run a command; its output."""
    command = [sys.executable, "-m", "runtime.cli", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return ended.stdout


if __name__ == "__main__":
    main()
