"""Range and matrix as the kernel's header maps what a driver leaves open."""

from __future__ import annotations

import pytest

from runtime import v4l2
from runtime.sources.device_mode import _matrix, _range

SRGB, REC709, JPEG = 8, 3, 7


@pytest.mark.parametrize("kind", [v4l2.PixFormat, v4l2.PixFormatMplane])
@pytest.mark.parametrize(
    ("colorspace", "encoding", "quantization", "expected"),
    [
        (0, 0, 0, ("video", "bt601")),
        (SRGB, 0, 0, ("video", "bt601")),
        (JPEG, 0, 0, ("full", "bt601")),
        (JPEG, 0, 2, ("video", "bt601")),
        (REC709, 0, 0, ("video", "bt709")),
        (REC709, 1, 1, ("full", "bt601")),
        (SRGB, 2, 1, ("full", "bt709")),
    ],
)
def test_colours(
    kind: type, colorspace: int, encoding: int, quantization: int, expected: object
) -> None:
    pix = kind(colorspace=colorspace, ycbcr_enc=encoding, quantization=quantization)
    assert (_range(pix), _matrix(pix)) == expected
