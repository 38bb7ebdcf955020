"""Our declarations of V4L2 against the kernel's header, by way of the C compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime import v4l2

REQUESTS = ["QUERYCAP", "ENUM_FMT", "G_FMT", "S_FMT", "REQBUFS", "QUERYBUF", "QBUF", "DQBUF", "STREAMON",
            "STREAMOFF", "G_PARM", "S_PARM", "ENUM_FRAMESIZES", "ENUM_FRAMEINTERVALS"]  # fmt: skip
CONSTANTS = {
    "V4L2_CAP_VIDEO_CAPTURE": v4l2.CAP_CAPTURE,
    "V4L2_CAP_VIDEO_CAPTURE_MPLANE": v4l2.CAP_CAPTURE_MPLANE,
    "V4L2_CAP_STREAMING": v4l2.CAP_STREAMING,
    "V4L2_CAP_DEVICE_CAPS": v4l2.CAP_DEVICE_CAPS,
    "V4L2_BUF_TYPE_VIDEO_CAPTURE": v4l2.BUF_CAPTURE,
    "V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE": v4l2.BUF_CAPTURE_MPLANE,
    "V4L2_MEMORY_MMAP": v4l2.MEMORY_MMAP,
    "V4L2_BUF_FLAG_ERROR": v4l2.BUF_FLAG_ERROR,
    "V4L2_BUF_FLAG_TIMESTAMP_MASK": v4l2.TIMESTAMP_MASK,
    "V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC": v4l2.TIMESTAMP_MONOTONIC,
    "V4L2_FRMSIZE_TYPE_DISCRETE": v4l2.DISCRETE,
    "V4L2_FRMIVAL_TYPE_DISCRETE": v4l2.DISCRETE,
    "V4L2_COLORSPACE_REC709": v4l2.COLORSPACE_REC709,
    "V4L2_YCBCR_ENC_709": v4l2.YCBCR_ENC_709,
    "V4L2_COLORSPACE_JPEG": v4l2.COLORSPACE_JPEG,
    "V4L2_QUANTIZATION_FULL_RANGE": v4l2.QUANTIZATION_FULL,
    "V4L2_FIELD_NONE": v4l2.FIELD_NONE,
    "VIDEO_MAX_PLANES": v4l2.MAX_PLANES,
    "V4L2_PIX_FMT_NV12": v4l2.fourcc("NV12"),
    "V4L2_PIX_FMT_NV12M": v4l2.fourcc("NM12"),
    "V4L2_PIX_FMT_YUYV": v4l2.fourcc("YUYV"),
    "V4L2_PIX_FMT_BGR24": v4l2.fourcc("BGR3"),
    "V4L2_PIX_FMT_MJPEG": v4l2.fourcc("MJPG"),
    "V4L2_PIX_FMT_JPEG": v4l2.fourcc("JPEG"),
}
# our structure -> the kernel's, and its members that have another name there
STRUCTURES: dict[type[ctypes.Structure], tuple[str, dict[str, str]]] = {
    v4l2.Capability: ("v4l2_capability", {}),
    v4l2.FormatDescription: ("v4l2_fmtdesc", {}),
    v4l2.FrameSize: ("v4l2_frmsizeenum", {"pixelformat": "pixel_format", "range": "stepwise"}),
    v4l2.FrameInterval: ("v4l2_frmivalenum", {"pixelformat": "pixel_format", "range": "stepwise"}),
    v4l2.PixFormat: ("v4l2_pix_format", {}),
    v4l2.PlanePixFormat: ("v4l2_plane_pix_format", {}),
    v4l2.PixFormatMplane: ("v4l2_pix_format_mplane", {}),
    v4l2.Format: ("v4l2_format", {}),
    v4l2.RequestBuffers: ("v4l2_requestbuffers", {}),
    v4l2.Plane: ("v4l2_plane", {"offset": "m.mem_offset"}),
    v4l2.Buffer: ("v4l2_buffer", {"seconds": "timestamp.tv_sec", "microseconds": "timestamp.tv_usec"}),
    v4l2.CaptureParameters: ("v4l2_streamparm", {
        "capability": "parm.capture.capability", "capturemode": "parm.capture.capturemode",
        "numerator": "parm.capture.timeperframe.numerator", "rest": "parm.capture.extendedmode",
        "denominator": "parm.capture.timeperframe.denominator",
    }),
}  # fmt: skip


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
def test_numbers_sizes_and_offsets_are_the_kernels(tmp_path: Path) -> None:
    expected = dict(CONSTANTS) | {f"VIDIOC_{name}": getattr(v4l2, name) for name in REQUESTS}
    for kind, (name, renamed) in STRUCTURES.items():
        expected[f"sizeof(struct {name})"] = ctypes.sizeof(kind)
        for field, *_ in kind._fields_:
            theirs = renamed.get(field, field)
            expected[f"offsetof(struct {name}, {theirs})"] = getattr(kind, field).offset
    lines = "".join(f'printf("%lu\\n", (unsigned long)({word}) & 0xffffffff);' for word in expected)
    source = tmp_path / "v.c"
    source.write_text(
        "#include <stdio.h>\n#include <stddef.h>\n#include <linux/videodev2.h>\n"
        f"int main(void){{{lines}}}"
    )
    built = subprocess.run(
        ["gcc", "-w", "-o", tmp_path / "v", source], capture_output=True, text=True
    )
    if "videodev2.h: No such file" in built.stderr:
        pytest.skip("no kernel headers")
    assert built.returncode == 0, built.stderr
    numbers = subprocess.run([tmp_path / "v"], capture_output=True, text=True).stdout.split()
    assert dict(zip(expected, map(int, numbers))) == expected
    assert len(numbers) > 100
