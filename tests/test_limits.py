"""What comes from outside is bounded: pictures whose headers lie, large files, large documents."""

from __future__ import annotations

import mmap
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from npud.errors import ConfigError, EndOfStream, RecordError, SourceError
from runtime import cli, limits
from runtime.image_decode import header_size
from runtime.models import manifest
from runtime.recording import pictures
from runtime.sources import base, images, open_source
from runtime.sources.device import _decoded
from runtime.validate import MAX_BYTES, load_toml
from tests.conftest import ROOT

HUGE = (30000, 30000)


def jpeg(width: int, height: int, *options: int) -> bytes:
    ok, data = cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8), options)
    assert ok
    return data.tobytes()


def claims(data: bytes, width: int, height: int, marker: bytes = b"\xff\xc0") -> bytes:
    """A JPEG that states another size."""
    changed, at = bytearray(data), data.index(marker)
    changed[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(changed)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width * 3 + 1) * min(height, 40), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info + bytes(3000)


def array(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        jpeg(640, 360),
        jpeg(33, 17, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        jpeg(64, 48, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        jpeg(64, 48)[:2] + b"\xff\xe1\x00\x10" + jpeg(8, 8)[:14] + jpeg(64, 48)[2:],  # a thumbnail
        jpeg(64, 48)[:2] + b"\xff\xff\xff\xfe\x00\x04ab" + jpeg(64, 48)[2:],  # fill bytes, comment
        png(50, 20),
    ],
)
def test_a_header_says_what_opencv_decodes(data: bytes) -> None:
    height, width = cv2.imdecode(array(data), cv2.IMREAD_COLOR).shape[:2]
    assert header_size(array(data)) == (width, height)
    for end in range(len(data) - 1):  # cut anywhere
        assert header_size(array(data[:end])) in (None, (width, height))


@pytest.mark.parametrize(
    "data",
    [
        claims(jpeg(16, 16), *HUGE),
        claims(jpeg(16, 16, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), *HUGE, marker=b"\xff\xc2"),
        png(*HUGE),
    ],
    ids=["jpeg", "progressive", "png"],
)
def test_a_small_file_of_a_huge_picture_is_refused_before_it_is_decoded(
    data: bytes, tmp_path: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "bomb"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"up to 8K \(33\.2 megapixels\), got 30000×30000 px"):
        images.read_image(path)
    message = pictures._bytes(2, data)
    with pytest.raises(RecordError, match="got 30000×30000 px"):
        pictures.decode(message, "foxglove.CompressedImage")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB; else 2.7 GB


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.bmp", bmp(*HUGE)), ("a.ppm", b"P6 30000 30000 255\n" + bytes(3000))],
)
def test_other_formats_are_bounded_too(name: str, data: bytes, tmp_path: Path) -> None:
    """By OpenCV, which reads the limit when it is loaded: in a process of its own."""
    (tmp_path / name).write_bytes(data)
    script = (
        "from runtime import cli; cli._set_up_opencv()\n"
        "from pathlib import Path; from runtime.sources.images import read_image\n"
        f"read_image(Path({str(tmp_path / name)!r}))"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert "SourceError" in run.stderr.splitlines()[-1]
    assert run.stderr.endswith("expected a picture up to 8K (33.2 megapixels), got a larger one\n")


def test_the_command_line_sets_opencvs_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENCV_IO_MAX_IMAGE_PIXELS", raising=False)
    cli._set_up_opencv()
    assert os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] == str(limits.MAX_PIXELS)


def test_an_image_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.jpg"
    with path.open("wb") as file:
        file.truncate(limits.MAX_IMAGE_BYTES + 1)  # sparse
    with pytest.raises(SourceError, match="expected an image of at most 256 MiB, got 256 MiB"):
        images.read_image(path)


@pytest.mark.parametrize(
    ("data", "good"),
    [
        (jpeg(640, 480), True),
        (jpeg(640, 488), True),  # whole blocks
        (jpeg(1280, 720), False),
        (claims(jpeg(640, 480), 8000, 4000), False),
        (claims(jpeg(640, 480), 65535, 65535), False),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08" + bytes(50), False),
        (b"garbage", False),
        (b"", False),
    ],
)
def test_an_mjpeg_frame_larger_than_its_mode_is_damaged(data: bytes, good: bool) -> None:
    with mmap.mmap(-1, 1 << 20) as memory:
        memory[: len(data)] = data
        found = _decoded(memory, (0, len(data)), (640, 480))
        assert (found is not None) == good
        assert _decoded(memory, (0, 1 << 40), (640, 480)) is None or good  # the driver lies


def test_a_video_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av = pytest.importorskip("av")
    from runtime.sources import pyav

    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="bgr24")
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    open_source(str(path)).read()
    with monkeypatch.context() as smaller:  # FFmpeg's own bound, for a stream that grows
        smaller.setattr(pyav, "BOUNDS", {"max_pixels": "1000"})
        with pytest.raises(EndOfStream, match="after 0 frames"):
            open_source(str(path)).read()
    monkeypatch.setattr(base, "MAX_PIXELS", 1000)
    with pytest.raises(SourceError, match="got 640×480 px"):
        open_source(str(path))


def test_a_document_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.toml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    for read in (load_toml, manifest.read):
        with pytest.raises(ConfigError, match=r"expected at most 1048576 bytes of TOML, got"):
            read(path)
