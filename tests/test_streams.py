"""Videos and streams: pixels against lossless originals and OpenCV, deadlines over real sockets."""

from __future__ import annotations

import importlib.util
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from npud.errors import SourceError
from runtime.sources import open_source
from runtime.sources.base import SourceOptions
from runtime.sources.video import OpenCvReader
from tests.pixels import oracle

av = pytest.importorskip("av")
Planes = NDArray[np.uint8]


def planes(count: int, width: int = 96, height: int = 64) -> list[Planes]:
    """yuv420p pictures (H·3/2, W) of smooth noise that moves."""
    rng = np.random.default_rng(3)
    base = [cv2.resize(rng.integers(16, 236, (5, 7), np.uint8), size, interpolation=cv2.INTER_CUBIC)
            for size in ((width, height), (width // 2, height // 2), (width // 2, height // 2))]  # fmt: skip
    moved = ([np.roll(plane, 3 * i, 1) for plane in base] for i in range(count))
    return [np.concatenate([y, *(c.reshape(-1, width) for c in uv)]) for y, *uv in moved]


def squares(seed: int) -> Planes:
    """A yuv420p picture (96, 96) of 64 rows: squares of 16×16 px, each of one colour."""
    rng = np.random.default_rng(seed)
    y, u, v = (
        rng.integers(*span, (4, 6), np.uint8) for span in ((90, 160), (100, 156), (100, 156))
    )
    parts = [
        y.repeat(16, 0).repeat(16, 1),
        *(c.repeat(8, 0).repeat(8, 1).reshape(-1, 96) for c in (u, v)),
    ]
    return np.concatenate(parts)


def write(path: Path, pictures: list[Planes], codec: str = "libx264", **properties: Any) -> Path:
    """Encode without loss: what is decoded is what was given."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=20)
        stream.width, stream.height = pictures[0].shape[1], pictures[0].shape[0] * 2 // 3
        stream.pix_fmt = "yuv420p"
        stream.options = {"qp": "0", "g": "5", "bf": "2"} if codec == "libx264" else {}
        for name, value in properties.items():
            setattr(stream.codec_context, name, value)
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def as_nv12(picture: Planes) -> Planes:
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    u, v = picture[height:].reshape(2, height // 2, width // 2)
    return np.concatenate([picture[:height], np.dstack([u, v]).reshape(-1, width)])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "ffv1.mkv"])
def test_nv12_is_what_was_encoded(tmp_path: Path, name: str) -> None:
    originals = planes(12)
    path = write(tmp_path / name, originals, "ffv1" if "ffv1" in name else "libx264")
    source = open_source(str(path))
    assert source.fps == 20
    for original in originals:  # B frames too, in the order of their times
        frame = source.read()
        assert (frame.format, frame.yuv_range, frame.yuv_matrix) == ("nv12", "video", "bt601")
        assert np.array_equal(frame.pixels, as_nv12(original))


@pytest.mark.parametrize(
    ("properties", "full", "matrix"),
    [
        ({}, "video", "bt601"),
        ({"color_range": 2}, "full", "bt601"),
        ({"colorspace": 1}, "video", "bt709"),
    ],
)
def test_nv12_and_bgr_are_the_same_picture(
    tmp_path: Path, properties: dict[str, int], full: str, matrix: str
) -> None:
    originals = [squares(i) for i in range(3)]
    path = write(tmp_path / "v.mp4", originals, **properties)
    source = open_source(str(path), SourceOptions(format="nv12"))
    direct = open_source(str(path), SourceOptions(format="bgr"))
    for original in originals:
        y, (u, v) = original[:64], original[64:].reshape(2, 32, 48).repeat(2, 1).repeat(2, 2)
        expected = oracle.rgb_of(y, u, v, full, matrix)[..., ::-1].clip(0, 255)
        frame, bgr = source.read(), direct.read()
        assert (frame.yuv_range, frame.yuv_matrix) == (full, matrix)
        for pixels, allowed in ((frame.bgr(), 1), (bgr.pixels, 4)):  # swscale's tables are rough
            off = np.abs(pixels - expected).reshape(4, 16, 6, 16, 3)
            assert off[:, 4:12, :, 4:12].max() <= allowed  # at the edges chroma is interpolated


def test_other_layouts_are_bgr_unless_nv12_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 20, (64, 48))
    writer.write(np.full((48, 64, 3), (30, 90, 200), np.uint8))
    writer.release()
    assert np.abs(open_source(str(path)).read().bgr().astype(int) - (30, 90, 200)).max() <= 3
    frame = open_source(str(path), SourceOptions(format="nv12")).read()
    assert frame.format == "nv12"
    assert np.abs(frame.bgr().astype(int) - (30, 90, 200)).max() <= 4


def test_a_turned_video_is_turned(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", planes(2))
    upright = open_source(str(path), SourceOptions(format="bgr")).read().pixels
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 4 * 4 + 4 + 8 + 8  # the matrix of ISO 14496-12, 8.3.2
    one, minus = (n.to_bytes(4, "big", signed=True) for n in (1 << 16, -(1 << 16)))
    zero = bytes(4)
    data[at : at + 20] = zero + one + zero + minus + zero  # (x, y) is shown at (-y, x)
    path.write_bytes(data)
    assert np.array_equal(open_source(str(path)).read().pixels, np.rot90(upright, -1))


def test_the_size_may_change_in_the_middle(tmp_path: Path) -> None:
    first, second = planes(4), planes(3, 160, 120)
    one, two = write(tmp_path / "1.h264", first), write(tmp_path / "2.h264", second)
    both = tmp_path / "both.h264"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    source = open_source(str(both))
    for original in (*first, *second):
        assert np.array_equal(source.read().pixels, as_nv12(original))


def test_a_decoder_by_name(tmp_path: Path) -> None:
    originals = planes(3)
    path = str(write(tmp_path / "v.mp4", originals))
    source = open_source(path, SourceOptions(decoder="h264"))
    assert np.array_equal(source.read().pixels, as_nv12(originals[0]))
    for decoder, message in {
        "h264_rkmpp": "decoder h264_rkmpp: ",
        "mjpeg": "decoder mjpeg does not read h264",
    }.items():
        with pytest.raises(SourceError, match=message):
            open_source(path, SourceOptions(decoder=decoder))


def test_without_pyav_there_is_bgr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write(tmp_path / "v.mp4", planes(2)))
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "runtime.sources.video.find_spec", lambda n: None if n == "av" else found(n)
    )
    assert open_source(path).read().format == "bgr"
    for options, what in (
        (SourceOptions(format="nv12"), 'format "nv12"'),
        (SourceOptions(decoder="h264_rkmpp"), 'decoder "h264_rkmpp"'),
    ):
        with pytest.raises(SourceError, match=what + r" needs PyAV.*pip install 'npud\[video\]'"):
            open_source(path, options)
    with pytest.raises(SourceError, match='expected format "auto", "bgr" or "nv12"'):
        open_source(path, SourceOptions(format="mjpeg"))


Serve = Callable[[socket.socket], None]
HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"


def part(data: bytes) -> bytes:
    return b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
        len(data),
        data,
    )


PICTURE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), (9, 9), 0
)
JPEG = part(cv2.imencode(".jpg", PICTURE)[1].tobytes())
NOISE = part(np.random.default_rng(1).bytes(900))


@pytest.fixture
def serve() -> Iterator[Callable[[Serve], int]]:
    """Start a TCP server that treats each connection so; returns its port."""
    listening: list[socket.socket] = []

    def start(handle: Serve) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=quietly, args=(connection,), daemon=True).start()

        def quietly(connection: socket.socket) -> None:
            try:
                connection.recv(4096)
                handle(connection)
            except OSError:
                pass
            finally:
                connection.close()

        threading.Thread(target=run, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in listening:
        server.close()


def silent(connection: socket.socket) -> None:
    connection.settimeout(60)
    connection.recv(1)  # until the client leaves


def stalls(connection: socket.socket) -> None:
    connection.sendall(HEAD + 30 * JPEG)
    silent(connection)


def breaks(connection: socket.socket) -> None:
    connection.sendall(HEAD + 30 * JPEG)


def garbles(connection: socket.socket) -> None:
    connection.sendall(HEAD + 30 * JPEG)
    while True:
        connection.sendall(NOISE)
        time.sleep(0.02)


def closes(connection: socket.socket) -> None:
    del connection


CASES = [
    ("http", silent, 0, "cannot open: no answer for 1 s"),
    ("rtsp", silent, 0, "cannot open: no answer for 1 s"),
    ("http", stalls, 30, "no answer for 1 s"),
    ("http", garbles, 30, "nothing to decode for 1 s"),
    ("http", breaks, 30, "/live: "),
    ("http", closes, 0, "cannot open: "),
    ("rtsp", closes, 0, "cannot open: "),
]


@pytest.mark.parametrize(("scheme", "server", "frames", "message"), CASES)
def test_a_server_that_does_wrong_is_left_in_time(
    serve: Callable[[Serve], int], scheme: str, server: Serve, frames: int, message: str
) -> None:
    port = serve(server)
    read, last = 0, time.monotonic()
    with pytest.raises(SourceError, match=message):  # noqa: PT012
        source = open_source(
            f"{scheme}://u:secret@127.0.0.1:{port}/live", SourceOptions(timeout_s=1)
        )
        while True:
            last = time.monotonic()
            frame = source.read()
            assert np.abs(frame.bgr().astype(int) - PICTURE).mean() < 8
            read += 1
    assert time.monotonic() - last < 20  # 1 s, on a machine that is not busy
    assert read == frames


def test_the_password_is_in_no_message(serve: Callable[[Serve], int]) -> None:
    for scheme in ("http", "rtsp"):
        with pytest.raises(SourceError) as error:
            open_source(f"{scheme}://u:secret@127.0.0.1:{serve(closes)}/live")
        assert "secret" not in str(error.value)


@pytest.mark.parametrize("server", [silent, stalls])
def test_opencv_keeps_the_deadline_too(serve: Callable[[Serve], int], server: Serve) -> None:
    begin = time.monotonic()
    options = SourceOptions(timeout_s=1)
    url = f"http://127.0.0.1:{serve(server)}/live"
    if server is silent:
        with pytest.raises(SourceError, match="cannot open"):
            OpenCvReader(url, options, live=True)
    else:
        reader = OpenCvReader(url, options, live=True)
        while reader.read() is not None:
            pass
    assert time.monotonic() - begin < 30


def test_times_are_the_senders_as_far_as_they_can_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.sources import pyav

    now = 0.0
    monkeypatch.setattr(pyav.time, "time_ns", lambda: round(now * 1e9))
    clock = pyav.Clock()
    rng = np.random.default_rng(2)
    errors = []
    for i in range(
        500
    ):  # sent every 40 ms on a clock of its own, 20 ms under way, up to 80 ms late
        sent = 1000 + 0.04 * i
        now = sent + 0.02 + float(rng.uniform(0, 0.08))
        captured = clock.captured_ns(0.04 * i) / 1e9
        assert captured <= now + 1e-6
        errors.append(captured - sent)
    assert max(errors[50:]) - min(errors[50:]) < 0.01  # the jitter is gone
    now += 3600
    assert clock.captured_ns(5.0) == round(now * 1e9)  # it counts anew
    assert clock.captured_ns(None) == round(now * 1e9)
