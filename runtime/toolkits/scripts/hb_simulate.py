"""Inside the RDK X5 toolchain's environment: run a quantized ONNX, bit for bit as the BPU does."""

from __future__ import annotations

from typing import Any

import numpy as np
from channel import Message, Tensors, serve  # the file beside this one
from horizon_tc_ui import HB_ONNXRuntime

MODEL: dict[str, Any] = {}


def load(request: Message, tensors: Tensors) -> tuple[Message, Tensors]:
    """Load request["onnx"]; request["outputs"] names what infer() gives, in this order."""
    session = HB_ONNXRuntime(model_file=request["onnx"])
    if sorted(session.output_names) != sorted(request["outputs"]):
        raise RuntimeError(
            f"expected outputs {', '.join(request['outputs'])}, got "
            f"{', '.join(session.output_names)}"
        )
    MODEL["session"], MODEL["outputs"] = session, request["outputs"]
    return {}, []


def infer(request: Message, tensors: Tensors) -> tuple[Message, Tensors]:
    """Run it on a YUV444 picture (1, H, W, 3) uint8, which the BPU takes as int8."""
    session = MODEL["session"]
    signed = (tensors[0].astype(np.int16) - 128).astype(np.int8)
    results = session.run(MODEL["outputs"], {session.input_names[0]: signed})
    return {}, [np.asarray(result) for result in results]


if __name__ == "__main__":
    serve({"load": load, "infer": infer})
