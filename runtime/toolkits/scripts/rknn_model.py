"""Inside rknn-toolkit2's environment: build a model, export it, and simulate it.

The simulator only runs what was built in the same process, so one script does all three.
"""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from channel import Message, Tensors, serve  # the file beside this one
from rknn.api import RKNN

MODEL: dict[str, Any] = {}


def build(request: Message, tensors: Tensors) -> tuple[Message, Tensors]:
    """Build from .onnx; `tensors`: the calibration pictures (N, H, W, 3) uint8, or none.

    request: onnx, target, mean, std, settings (more arguments of RKNN.config), output (or null).
    """
    model = RKNN(verbose=False)
    _done(
        "config",
        model.config(
            mean_values=[request["mean"]],
            std_values=[request["std"]],
            target_platform=request["target"],
            **request["settings"],
        ),
    )
    _done("load_onnx", model.load_onnx(model=request["onnx"]))
    with tempfile.TemporaryDirectory() as folder:
        listing = _dataset(Path(folder), tensors[0]) if tensors else None
        os.chdir(folder)  # it writes check*.onnx files into the working directory
        _done("build", model.build(do_quantization=bool(tensors), dataset=listing))
        os.chdir("/")
    if request["output"]:
        _done("export_rknn", model.export_rknn(request["output"]))
    MODEL["rknn"] = model
    return {"version": importlib.metadata.version("rknn-toolkit2")}, []


def infer(request: Message, tensors: Tensors) -> tuple[Message, Tensors]:
    """Run the simulator on one picture (1, H, W, 3) uint8; float32 outputs in the file's order."""
    model = MODEL["rknn"]
    if not MODEL.get("ready"):
        _done("init_runtime", model.init_runtime())
        MODEL["ready"] = True
    results = model.inference(inputs=tensors, data_format=["nhwc"])
    if results is None:
        raise RuntimeError("inference gave nothing")
    return {}, list(results)


def _dataset(folder: Path, pictures: Any) -> str:
    """One .npy file (1, 3, H, W) per picture, as the graph's input, and the list of them."""
    names = []
    for number, picture in enumerate(pictures):
        names.append(str(folder / f"{number:05}.npy"))
        np.save(names[-1], np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    listing = folder / "dataset.txt"
    listing.write_text("\n".join(names) + "\n")
    return str(listing)


def _done(step: str, code: Any) -> None:
    """The toolkit returns a code, and logs the reason."""
    if code not in (0, None):
        raise RuntimeError(f"RKNN.{step} gave code {code}")


if __name__ == "__main__":
    serve({"build": build, "infer": infer})
