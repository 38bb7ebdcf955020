"""librknnrt's C API as far as npud uses it: own declarations for ctypes, and what its codes mean.

ctypes releases the GIL during every call.  Numbers and sizes as observed in librknnrt 1.6 to 2.5
(docs/faults.md lists how the calls fail).
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_float, c_int, c_int8, c_int32, c_uint8, c_uint32, c_uint64
from ctypes import c_char as char
from ctypes import c_void_p as pointer
from pathlib import Path

import numpy as np

from npud.errors import BackendUnavailable, InferenceError

ENV = "NPUD_LIBRKNNRT"
NAME = "librknnrt.so"
PLACES = ("/usr/lib", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib")
REMEDY = (
    "install librknnrt.so of the version of the rknn-toolkit2 that made the model, from "
    "github.com/airockchip/rknn-toolkit2 (rknpu2/runtime/Linux/librknn_api/aarch64), to /usr/lib"
)
DEVICE_UNAVAILABLE = -3
MEANINGS = {
    -1: "failed",
    -2: "timed out",
    DEVICE_UNAVAILABLE: "the NPU is not available",
    -4: "out of memory",
    -5: "a parameter is invalid",
    -6: "the model is invalid, or of a version that this library does not know",
    -7: "the context is invalid",
    -8: "the input is invalid",
    -9: "the output is invalid",
    -10: "the device does not match",
    -11: "a pre-compiled model that this device cannot run",
    -12: "the model's optimization level does not fit the library",
    -13: "the model was made for another chip",
}
# rknn_query's commands
IN_OUT_NUM, INPUT_ATTR, OUTPUT_ATTR, SDK_VERSION, NATIVE_OUTPUT_ATTR = 0, 1, 2, 5, 9
# a tensor's memory layout, quantization, and the directions of rknn_mem_sync
NCHW, NHWC, NC1HWC2 = 0, 1, 2
QNT_DFP, QNT_AFFINE = 1, 2
TO_DEVICE, FROM_DEVICE = 1, 2
DTYPES = [np.dtype(n) for n in ("f4", "f2", "i1", "u1", "i2", "u2", "i4", "u4", "i8")]
UINT8 = 3
CORES = {"rk3588": 3, "rk3576": 2}  # other chips have one, and no mask


class InOut(Structure):
    """How many inputs and outputs a model has."""

    _fields_ = [("inputs", c_uint32), ("outputs", c_uint32)]


class Attr(Structure):
    """What the library says of one tensor, and how its memory is to be read."""

    _fields_ = [
        ("index", c_uint32), ("n_dims", c_uint32), ("dims", c_uint32 * 16), ("name", char * 256),
        ("n_elems", c_uint32), ("size", c_uint32), ("fmt", c_uint32), ("type", c_uint32),
        ("qnt_type", c_uint32), ("fl", c_int8), ("zp", c_int32), ("scale", c_float),
        ("w_stride", c_uint32), ("size_with_stride", c_uint32), ("pass_through", c_uint8),
        ("h_stride", c_uint32),
    ]  # fmt: skip


class Input(Structure):
    """One tensor handed to rknn_inputs_set."""

    _fields_ = [
        ("index", c_uint32), ("buf", pointer), ("size", c_uint32), ("pass_through", c_uint8),
        ("type", c_uint32), ("fmt", c_uint32),
    ]  # fmt: skip


class Output(Structure):
    """One buffer handed to rknn_outputs_get."""

    _fields_ = [
        ("want_float", c_uint8), ("is_prealloc", c_uint8), ("index", c_uint32), ("buf", pointer),
        ("size", c_uint32),
    ]  # fmt: skip


class Version(Structure):
    """Versions of library and kernel driver."""

    _fields_ = [("api", char * 256), ("driver", char * 256)]


class Memory(Structure):
    """Memory that NPU and CPU both see, from rknn_create_mem."""

    _fields_ = [
        ("virt", pointer), ("phys", c_uint64), ("fd", c_int32), ("offset", c_int32),
        ("size", c_uint32), ("flags", c_uint32), ("private", pointer),
    ]  # fmt: skip


CONTEXT = POINTER(c_uint64)
CALLS: dict[str, list[object]] = {
    "rknn_init": [CONTEXT, pointer, c_uint32, c_uint32, pointer],
    "rknn_dup_context": [CONTEXT, CONTEXT],
    "rknn_destroy": [c_uint64],
    "rknn_query": [c_uint64, c_int, pointer, c_uint32],
    "rknn_set_core_mask": [c_uint64, c_int],
    "rknn_inputs_set": [c_uint64, c_uint32, POINTER(Input)],
    "rknn_run": [c_uint64, pointer],
    "rknn_outputs_get": [c_uint64, c_uint32, POINTER(Output), pointer],
    "rknn_outputs_release": [c_uint64, c_uint32, POINTER(Output)],
}
# not in every version: without all of them tensors are copied
ZERO_COPY: dict[str, list[object]] = {
    "rknn_create_mem": [c_uint64, c_uint32],
    "rknn_destroy_mem": [c_uint64, POINTER(Memory)],
    "rknn_set_io_mem": [c_uint64, POINTER(Memory), POINTER(Attr)],
    "rknn_mem_sync": [c_uint64, POINTER(Memory), c_int],
}


def meaning(code: int) -> str:
    """`-2 (timed out)`."""
    return f"{code} ({MEANINGS.get(code, 'an unknown code')})"


def check(code: int, call: str, where: str) -> None:
    """Raise InferenceError with call, code and meaning unless the code is 0."""
    if code != 0:
        raise InferenceError(f"{where}: {call} returned {meaning(code)}")


class Library:
    """librknnrt.so, loaded; `zero_copy` says whether it has the calls for shared memory."""

    def __init__(self) -> None:
        self.path, self._library = _find()
        self.zero_copy = self._declare(ZERO_COPY)
        if not self._declare(CALLS):
            raise BackendUnavailable(f"backend librknnrt: {self.path} lacks calls; {REMEDY}")
        if self.zero_copy:
            self._library.rknn_create_mem.restype = POINTER(Memory)

    def call(self, name: str, where: str, *arguments: object) -> None:
        """Call a function that returns a code; raises InferenceError."""
        check(getattr(self._library, name)(*arguments), name, where)

    def code(self, name: str, *arguments: object) -> int:
        """Call a function whose failure the caller deals with; its code."""
        return int(getattr(self._library, name)(*arguments))

    def create_mem(self, context: int, size: int) -> ctypes._Pointer[Memory] | None:
        """Shared memory, None where the library has none."""
        memory = self._library.rknn_create_mem(context, size)
        return memory if memory and memory.contents.virt else None

    def _declare(self, calls: dict[str, list[object]]) -> bool:
        for name, arguments in calls.items():
            try:
                function = getattr(self._library, name)
            except AttributeError:
                return False
            function.argtypes, function.restype = arguments, c_int
        return True


def _find() -> tuple[str, ctypes.CDLL]:
    """The library of NPUD_LIBRKNNRT, else the loader's, else one in the usual places."""
    wanted = os.environ.get(ENV)
    places = [wanted] if wanted else [NAME, *(f"{place}/{NAME}" for place in PLACES)]
    reasons: list[str] = []
    for place in places:
        if "/" in place and not Path(place).exists():
            continue
        try:
            return place, ctypes.CDLL(place)
        except OSError as error:
            reasons.append(str(error))
    looked = f"{ENV}={wanted}" if wanted else f"the loader's path, {', '.join(PLACES)}"
    why = reasons[-1] if reasons else "no such file"
    raise BackendUnavailable(
        f"backend librknnrt: expected {NAME}, looked in {looked}: {why}; remedy: {REMEDY}"
    )
