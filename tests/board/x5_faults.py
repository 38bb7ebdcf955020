"""D-Robotics' faults, one by one: what the binding does with them, and what npud says.

on_x5_faults.py produces both on the emulated board; docs/faults.md shows the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

OK = "right results"
UNSET = "goes on with memory that nobody has written"
LOAD = "ModelError: model m.bin: pyeasy_dnn.load failed: "
FORWARD = "InferenceError: model m.bin: pyeasy_dnn.forward failed: forward execution failed."
NAMES = "box_8, cls_8, box_16, cls_16, box_32, cls_32"


@dataclass(frozen=True)
class Fault:
    """What the stand-in does (STUB_DNN_FAULT), what the binding makes of it, what npud says.

    Where `varies`, both depend on what memory held, and `npud` is how the message begins; the
    process may die instead.
    """

    inject: str
    binding: str
    npud: str
    varies: bool = False


def _fails(call: str, binding: str, npud: str, varies: bool = False) -> Fault:
    return Fault(f"{call}=-6000001", binding, npud, varies)


def _cause(reason: str) -> str:
    return f"SystemError, cause RuntimeError('{reason}')"


def _load(call: str, reason: str = "") -> Fault:
    reason = reason or f"{call} failed"
    return _fails(call, _cause(reason), LOAD + reason)


def _forward(call: str) -> Fault:
    return _fails(call, _cause("forward execution failed."), FORWARD)


FAULTS = [
    _load("hbDNNInitializeFromFiles"),
    _load("hbDNNGetModelNameList"),
    _load("hbDNNGetModelHandle"),
    _fails("hbSysAllocCachedMem", _cause("prepare_model_tensor failed"),
           LOAD + "prepare_model_tensor failed", varies=True),
    _fails("hbDNNGetInputCount", UNSET, "ModelError: model m.bin: ", varies=True),
    _fails("hbDNNGetOutputCount", UNSET, "ModelError: model m.bin: ", varies=True),
    _fails("hbDNNGetInputName", OK, OK),
    _fails("hbDNNGetOutputName", "outputs without names",
           f"ModelError: model m.bin: expected outputs {NAMES}, as the file says, got "
           "'', '', '', '', '', ''"),
    _fails("hbDNNGetInputTensorProperties", UNSET, "ModelError: model m.bin: ", varies=True),
    _fails("hbDNNGetOutputTensorProperties", UNSET, "ModelError: model m.bin: ", varies=True),
    _forward("hbDNNInfer"),
    _forward("hbDNNWaitTaskDone"),
    _forward("hbDNNReleaseTask"),
    _fails("hbSysFlushMem", OK, OK),
    _fails("hbSysFreeMem", OK, OK),
    _fails("hbDNNRelease", OK, OK),
    Fault("shape", "takes it",
          "ModelError: model m.bin: expected output box_8 [1, 40, 40, 4] float32, as the file says, "
          "got [1, 80, 40, 4] float32"),
    Fault("nan", "returns them",
          "InferenceError: model m.bin: expected finite numbers in box_8 [1, 40, 40, 4] float32, "
          "got nan"),
    Fault("stale@2", "returns the frame before",
          "InferenceError: model m.bin: expected other results for another picture, got those of an "
          "earlier frame again; the NPU reports success without running"),
    Fault("crash", "the process dies of SIGABRT", "the process dies of SIGABRT"),
]  # fmt: skip


def rows() -> list[str]:
    """The rows of the table in docs/faults.md."""
    return [
        f"| {fault.inject.partition('=')[0]} | {fault.binding} | "
        f"{fault.npud + ('…' if fault.npud.endswith(' ') else '')}"
        f"{', or the process dies' if fault.varies else ''} |"
        for fault in FAULTS
    ]
