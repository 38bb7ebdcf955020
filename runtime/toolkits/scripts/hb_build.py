"""Inside the RDK X5 toolchain's environment: bring a model to opset 11 and run hb_mapper on it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from channel import Message, Tensors, serve  # the file beside this one

NEWEST = 11  # opset that the toolchain reads
IR_VERSION = 7
LISTS = {
    "Split": "split",
    "Squeeze": "axes",
    "Unsqueeze": "axes",
    **dict.fromkeys(("ReduceSum", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"), "axes"),
}
DROPPED = {
    ("Split", "num_outputs"),
    ("Reshape", "allowzero"),
    ("Resize", "antialias"),
    ("Resize", "keep_aspect_ratio_policy"),
}
EMPTY = "npud_no_values"


def build(request: Message, tensors: Tensors) -> tuple[Message, Tensors]:
    """Run hb_mapper; `tensors`: the calibration pictures (N, 3, H, W) float32, 0..255.

    request: onnx, folder (where everything goes), config (hb_mapper's yaml as nested tables).
    """
    folder, config = Path(request["folder"]), request["config"]
    source = folder / "opset11.onnx"
    error = lower(request["onnx"], source)
    config["model_parameters"]["onnx_model"] = str(source)
    pictures = folder / config["calibration_parameters"]["cal_data_dir"]
    pictures.mkdir(exist_ok=True)
    for number, picture in enumerate(tensors[0]):
        picture.tofile(pictures / f"{number:05}.bin")
    config_file = folder / "hb_mapper.yaml"
    config_file.write_text(json.dumps(config, indent=1))  # which is YAML too
    command = [sys.executable, "-s", "-E", str(Path(sys.executable).with_name("hb_mapper"))]
    command += ["makertbin", "--config", str(config_file), "--model-type", "onnx"]
    code = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL).returncode  # noqa: S603
    prefix = folder / "out" / config["model_parameters"]["output_model_file_prefix"]
    binary = prefix.with_name(prefix.name + ".bin")
    if code or not binary.exists():
        raise RuntimeError(f"hb_mapper makertbin ended with code {code} and no .bin")
    version = importlib.metadata.version("rdkx5-yolo-mapper")
    return {"version": version, "prefix": str(prefix), "opset_error": error}, []


def lower(source: str, target: Path) -> float:
    """Write `source` for opset 11 at most; returns the largest difference of its outputs.

    onnx's own converter cannot go back from 13.  What changed since 11 in the operators of YOLO
    models are types, and lists that became inputs; that nothing else did is measured.
    """
    model = onnx.load(source)
    standard = [o for o in model.opset_import if o.domain in ("", "ai.onnx")]
    opset = max((o.version for o in standard), default=0)
    if opset > NEWEST:
        _constants_to_initializers(model.graph)
        _inputs_to_attributes(model.graph)
        for entry in standard:
            entry.version = NEWEST
        model.ir_version = min(model.ir_version, IR_VERSION)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise RuntimeError(
            f"expected a model of opset {NEWEST} or one that can be brought there, got opset "
            f"{opset}: {_first_line(error)}; remedy: export it with opset {NEWEST}"
        ) from None
    onnx.save(model, str(target))
    return _difference(source, str(target)) if opset > NEWEST else 0.0


def _constants_to_initializers(graph: Any) -> None:
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            value = node.attribute[0].t
            value.name = node.output[0]
            graph.initializer.append(value)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _inputs_to_attributes(graph: Any) -> None:
    """Lists of numbers that are inputs since opset 13 or 18 become attributes again."""
    known = {value.name: value for value in graph.initializer}
    for node in graph.node:
        name = LISTS.get(node.op_type)
        if name and len(node.input) > 1 and node.input[1] in known:
            numbers = onnx.numpy_helper.to_array(known[node.input[1]]).tolist()
            del node.input[1:]
            node.attribute.append(onnx.helper.make_attribute(name, numbers))
        if node.op_type == "Softmax" and not node.attribute:
            node.attribute.append(onnx.helper.make_attribute("axis", -1))  # its default since 13
        if node.op_type == "Resize":  # its inputs were not optional
            _name_empty_inputs(graph, node)
        for attribute in list(node.attribute):
            if (node.op_type, attribute.name) in DROPPED:
                node.attribute.remove(attribute)


def _name_empty_inputs(graph: Any, node: Any) -> None:
    for index, name in enumerate(node.input):
        if not name:
            node.input[index] = EMPTY
            if not any(value.name == EMPTY for value in graph.initializer):
                nothing = np.zeros(0, np.float32)
                graph.initializer.append(onnx.numpy_helper.from_array(nothing, EMPTY))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _difference(one: str, other: str) -> float:
    """The largest difference of two models' outputs on noise."""
    import onnxruntime

    first, second = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for path in (one, other)
    )
    noise = np.random.default_rng(0)
    feed = {
        node.name: noise.random(
            [side if isinstance(side, int) else 1 for side in node.shape]
        ).astype(np.float32)
        for node in first.get_inputs()
    }
    pairs = zip(first.run(None, feed), second.run(None, feed))
    error = max(float(np.abs(a - b).max()) for a, b in pairs)
    if not error < 1e-3:
        raise RuntimeError(f"opset {NEWEST} changes the outputs by {error:.3g}")
    return error


if __name__ == "__main__":
    serve({"build": build})
