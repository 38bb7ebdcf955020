"""mAP of a model under an NPU's numerics, emulated: the table in docs/simulator.md.

    python -m benchmarks.simulator yolov8n.onnx yolov8n_rk3588_i8.rknn COCO_DIR

The model is cut by `npud prepare`; grids come from the .rknn for probabilities, and for logits from
the range of the values on the same pictures.  Settings of `benchmarks.accuracy`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import coco_map, detect
from npud.detections import Detections
from runtime.accuracy.matching import match
from runtime.backends import open_backend
from runtime.backends.base import BackendOptions
from runtime.simulate.options import Simulate

THRESHOLD = 0.25
Results = list[dict[str, Any]]
SCORES = 4  # first row of the class scores in [1, 4+C, N]
SHARED_SCALE = 2.512  # of [1,84,8400] in int8, 0 to 640, as the vendor's toolchain chose it


def main() -> None:
    """Print a line per setting."""
    model, rknn, coco = map(Path, sys.argv[1:4])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare = [sys.executable, "-m", "runtime.cli", "prepare", str(model), "-o", scratch]
        subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
        stem = folder / model.stem
        cpu, npu = Path(f"{stem}.cpu-sigmoid.onnx"), Path(f"{stem}.npu-sigmoid.onnx")
        grids = folder / "logits.toml"
        measure = [sys.executable, "-m", "runtime.simulate.measure", str(cpu), str(coco / "images")]
        grids.write_bytes(subprocess.run(measure, check=True, capture_output=True).stdout)
        base: Results = []
        print(f"{'numerics':<58}{'mAP50-95':>9}{'found':>12}{'extra':>7}{'score':>9}{'levels':>8}")
        for title, path, simulate in settings(model, cpu, npu, rknn, grids):
            results = measured(path, simulate, coco, folder / "config.toml")
            base = base or results
            value = coco_map(coco / "instances.json", results)
            print(f"{title:<58}{value:>9.4f}{compared(base, results)}", flush=True)
        print(f"{'one int8 output, boxes and scores: ' + concatenated(model, coco, folder)}")


def settings(
    model: Path, cpu: Path, npu: Path, rknn: Path, grids: Path
) -> Iterator[tuple[str, Path, dict[str, object]]]:
    """What is tried: title, model, [backend.simulate]."""
    half = {"activations": "float16"}
    yield "float32, logits, sigmoid on the CPU", cpu, {}
    yield "float16 activations, logits", cpu, half
    yield "float16 activations, probabilities", npu, half
    yield "float16 activations, uncut (boxes and scores decoded too)", model, half
    for entries in (64, 256, 1024, 4096):
        table = {"sigmoid": "table", "sigmoid_table": entries}
        yield f"sigmoid table of {entries} on [-8, 8]", npu, table
    table = {"sigmoid": "table", "sigmoid_table": 1024, "sigmoid_range": [-4, 4]}
    yield "sigmoid table of 1024 on [-4, 4]", npu, table
    yield "sigmoid in float16, saturating", npu, {"sigmoid": "float16"}
    yield "float16 activations and sigmoid in float16", npu, half | {"sigmoid": "float16"}
    yield "int8 logits", cpu, {"outputs": "int8", "grids": str(grids)}
    yield "int8 probabilities", npu, {"outputs": "int8", "grids": str(rknn)}


def measured(model: Path, simulate: dict[str, object], coco: Path, config: Path) -> Results:
    """What a model finds with these numerics."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in simulate.items()]
    config.write_text("\n".join(["[backend.simulate]", *lines, ""]))
    return detect(model, coco / "images", config)


def compared(base: Results, results: Results) -> str:
    """Of `base` above 0.25: found again; others, mean score difference, distinct scores."""
    found = total = extra = 0
    differences: list[float] = []
    levels: set[float] = set()
    for first, second in zip(base, results):
        a, b = above(first), above(second)
        pairs = match(a, b)
        found, total, extra = found + len(pairs), total + len(a), extra + len(pairs.only_b)
        differences += np.abs(a.scores[pairs.a] - b.scores[pairs.b]).tolist()
        levels |= set(b.scores.tolist())
    share = f"{found} of {total}"
    return f"{share:>12}{extra:>7}{np.mean(differences):>9.1e}{len(levels):>8}"


def above(result: dict[str, Any]) -> Detections:
    """The detections of a picture above the default threshold."""
    kept = [one for one in result["detections"] if one["score"] >= THRESHOLD]
    boxes = np.array([one["box"] for one in kept], np.float32).reshape(-1, 4)
    scores = np.array([one["score"] for one in kept], np.float32)
    return Detections(boxes, scores, np.array([one["class_id"] for one in kept], np.int32))


def concatenated(model: Path, coco: Path, folder: Path) -> str:
    """What is left of the scores where one int8 output holds boxes too, and what npud says."""
    name = open_backend("onnx", model, BackendOptions()).outputs[0].name
    grids = folder / "joined.toml"
    grids.write_text(f"[{json.dumps(name)}]\nscale = {SHARED_SCALE}\nzero_point = -128\n")
    simulate = Simulate(outputs="int8", grids=str(grids))
    backend = open_backend("onnx", model, BackendOptions(simulate=simulate))
    noise = np.random.default_rng(1).random(backend.inputs[0].shape, np.float32)
    scores = backend.infer([noise])[0][:, SCORES:]
    config = folder / "config.toml"
    config.write_text(f'[backend.simulate]\noutputs = "int8"\ngrids = {json.dumps(str(grids))}\n')
    try:
        detect(model, coco / "images", config)
    except SystemExit as error:
        said = str(error).strip().splitlines()[-1]
        return f"{(scores != -128).sum()} scores above 0; {said}"
    return "not refused"


if __name__ == "__main__":
    main()
