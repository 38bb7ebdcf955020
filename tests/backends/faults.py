"""Rockchip's vendor faults, one by one: what is injected, and what each backend must say.

docs/faults.md shows the same rows with real output; test_faults.py holds one against the other.
"""

from __future__ import annotations

from dataclasses import dataclass

OK = ""  # no error: the results are right


@dataclass(frozen=True)
class Fault:
    """What the stand-in does, when, the pattern of each backend's error, and the binding's way."""

    name: str
    env: dict[str, str]
    librknnrt: str
    rknnlite: str
    stage: str = "infer"  # load, infer or duplicate
    binding: str = "never calls it"  # what rknn-toolkit-lite2 does by itself, measured


def _call(**codes: int | str) -> dict[str, str]:
    return {"STUB_FAULT": ",".join(f"{call}={code}" for call, code in codes.items())}


NONE = "`inference` gives None, traceback on stderr"
REFUSES = "`init_runtime` gives -1, traceback on stderr"
INIT = r"init_runtime\(core_mask=2\) gave -1: .*"
STALE = "expected other results for another picture, got those of an earlier frame again"
FAULTS = [
    Fault("rknn_init: no device", _call(rknn_init=-3),
          r"backend librknnrt: expected an NPU, rknn_init returned -3 \(the NPU is not available\)",
          INIT + "RKNN_ERR_DEVICE_UNAVAILABLE", "load", REFUSES),
    Fault("rknn_init: version", _call(rknn_init=-6),
          r"rknn_init returned -6 \(the model is invalid, or of a version .*\); it was made for "
          r"rk3588 with rknn-toolkit2 2\.3\.2", INIT + "RKNN_ERR_MODEL_INVALID", "load", REFUSES),
    Fault("rknn_init: another chip's model", _call(rknn_init=-13),
          r"rknn_init returned -13 \(the model was made for another chip\); it was made for rk3588",
          INIT + "RKNN_ERR_TARGET_PLATFORM_UNMATCH", "load", REFUSES),
    Fault("rknn_query", _call(rknn_query=-1), r"rknn_query returned -1 \(failed\)",
          INIT + "RKNN_ERR_FAIL", "load", REFUSES),
    Fault("rknn_set_core_mask", _call(rknn_set_core_mask=-5),
          r"rknn_set_core_mask returned -5 \(a parameter is invalid\)",
          INIT + "Catch exception when set npu core mode", "load",
          "`init_runtime` gives -1; `inference` works all the same"),
    Fault("rknn_dup_context", _call(rknn_dup_context=-4),
          r"rknn_dup_context returned -4 \(out of memory\)", OK, "duplicate"),
    Fault("rknn_create_mem gives none", _call(rknn_create_mem="null"), OK, OK, "load"),
    Fault("rknn_set_io_mem", _call(rknn_set_io_mem=-5), OK, OK, "load"),
    Fault("rknn_mem_sync", _call(rknn_mem_sync=-1), r"rknn_mem_sync returned -1 \(failed\)", OK),
    Fault("rknn_inputs_set", _call(rknn_inputs_set=-8), OK,
          r"rknn_inputs_set returned -8 \(the input is invalid\)", binding=NONE),
    Fault("rknn_inputs_set, tensors copied", _call(rknn_create_mem="null", rknn_inputs_set=-8),
          r"rknn_inputs_set returned -8 \(the input is invalid\)",
          r"rknn_inputs_set returned -8 \(the input is invalid\)", "load", NONE),
    Fault("rknn_run: failed", _call(rknn_run=-1), r"rknn_run returned -1 \(failed\)",
          r"rknn_run returned -1 \(failed\)",
          binding="`inference` gives the outputs of the frame before; nothing on stderr"),
    Fault("rknn_run: timed out", _call(rknn_run=-2), r"rknn_run returned -2 \(timed out\)",
          r"rknn_run returned -2 \(timed out\)",
          binding="`inference` gives the outputs of the frame before; nothing on stderr"),
    Fault("rknn_outputs_get", _call(rknn_outputs_get=-9), OK,
          r"rknn_outputs_get returned -9 \(the output is invalid\)", binding=NONE),
    Fault("rknn_outputs_get, tensors copied", _call(rknn_create_mem="null", rknn_outputs_get=-9),
          r"rknn_outputs_get returned -9 \(the output is invalid\)",
          r"rknn_outputs_get returned -9 \(the output is invalid\)", "load", NONE),
    Fault("rknn_outputs_release", _call(rknn_outputs_release=-7), OK,
          r"rknn_outputs_release returned -7 \(the context is invalid\)",
          binding="`inference` gives the outputs, a line on stderr"),
    Fault("success, but old data", {"STUB_OUTPUT": "stale"}, STALE, STALE,
          binding="`inference` gives them"),
    Fault("NaN in the outputs", {"STUB_OUTPUT": "nan"}, OK,
          r"expected finite numbers in box_8 \[1, 64, 8, 8\] float32, got nan",
          binding="`inference` gives it"),
    Fault("wrong shape", {"STUB_ATTR": "shape"},
          r"output box_8: expected \[1, 64, 8, 8\], as the file says; librknnrt says \[1, 64, 8, 7\]",
          r"expected output box_8 \[1, 64, 8, 8\] float32, got \[1, 64, 8, 7\] float32",
          "load", "`inference` gives that shape"),
    Fault("wrong number of outputs", {"STUB_ATTR": "count"},
          r"expected 6 outputs, as the file says; librknnrt says 5",
          r"expected 6 outputs, got 5", "load", "`inference` gives so many"),
    Fault("wrong size", {"STUB_ATTR": "size"},
          r"output box_8: expected 4096 bytes for \[1, 64, 8, 8\] int8, librknnrt says 2048", OK,
          "load", "does not look"),
    Fault("unknown type", {"STUB_ATTR": "type"},
          r"output box_8: expected a known type, got number 99", OK, "load", "does not look"),
]  # fmt: skip
