"""Sources: which URL is what, and what each does with good and bad files."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from npud.errors import EndOfStream, SourceError
from runtime.masking import masked
from runtime.scenes import Street
from runtime.sources import kind_of, open_source
from runtime.sources.base import SourceOptions
from runtime.sources.images import read_image


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames of 64×48 at 20 fps; frame i has the grey value 20 i."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (64, 48))
    for index in range(10):
        writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
    writer.release()
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in (2, 0, 1):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((48, 64, 3), 20 * index, np.uint8))
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("synthetic:street?seed=3", "synthetic"),
        ("rtsp://host/live", "stream"),
        ("http://host/video.mjpg", "stream"),
        ("/dev/video0", "device"),
        ("/dev/v4l/by-id/usb-cam-video-index0", "device"),
        ("0", "device"),
        ("a/b.jpg", "images"),
        ("a/*.jpg", "images"),
        ("a/b.mp4", "video"),
    ],
)
def test_the_form_of_a_url_says_what_it_is(url: str, kind: str) -> None:
    assert kind_of(url) == kind


def test_a_video_gives_all_its_frames_and_then_ends(video: Path) -> None:
    source = open_source(str(video))
    assert not source.live
    assert source.fps == 20
    greys = [int(source.read().bgr().mean().round()) for _ in range(10)]
    assert greys == pytest.approx([20 * i for i in range(10)], abs=2)
    with pytest.raises(EndOfStream, match="ended after 10 frames"):
        source.read()


def test_a_looping_video_starts_again(video: Path) -> None:
    source = open_source(str(video), SourceOptions(loop=True))
    greys = [int(source.read().bgr().mean().round()) for _ in range(25)]
    assert greys == pytest.approx([20 * (i % 10) for i in range(25)], abs=2)


@pytest.mark.parametrize("pattern", ["", "/*.png"])
def test_images_come_in_name_order(images: Path, pattern: str) -> None:
    source = open_source(f"{images}{pattern}", SourceOptions(fps=5))
    assert source.fps == 5
    read = [source.read() for _ in range(3)]
    assert [Path(frame.name).name for frame in read] == ["0.png", "1.png", "2.png"]
    assert [int(frame.pixels.mean()) for frame in read] == [0, 20, 40]
    with pytest.raises(EndOfStream, match="ended after 3 images"):
        source.read()


def test_an_unreadable_image_is_passed_over_once_it_was_told(images: Path) -> None:
    (images / "1.png").write_bytes(b"nothing")
    source = open_source(str(images))
    assert source.read().name.endswith("0.png")
    with pytest.raises(SourceError, match=r"1\.png: expected a JPEG, PNG"):
        source.read()
    assert source.read().name.endswith("2.png")


def test_grey_and_transparent_images_become_bgr(tmp_path: Path) -> None:
    for name, pixels in {
        "grey.png": np.full((20, 30), 7, np.uint8),
        "alpha.png": np.full((20, 30, 4), 7, np.uint8),
        "deep.png": np.full((20, 30), 7 * 257, np.uint16),
    }.items():
        cv2.imwrite(str(tmp_path / name), pixels)
        read = read_image(tmp_path / name)
        assert read.shape == (20, 30, 3)
        assert read.dtype == np.uint8
        assert (read == 7).all()


def test_the_generated_camera_is_the_generator() -> None:
    source = open_source("synthetic:street?seed=5&size=320x240&fps=12&frames=2")
    assert source.fps == 12
    for index in range(2):
        expected, _ = Street(5, (320, 240)).frame(index)
        assert np.array_equal(source.read().pixels, expected)
    with pytest.raises(EndOfStream, match="ended after 2 frames"):
        source.read()


MISTAKES = [
    (
        "nothere.avi",
        "nothere.avi: expected a video, an image, a directory or a device: no such file",
    ),
    ("nothere.jpg", "nothere.jpg: No such file"),
    ("no/*.jpg", "expected files matching this pattern, found none"),
    ("gopher://x", "got the scheme gopher://"),
    ("/dev/video97", "expected a V4L2 device: no such device"),
    ("rtsp://me:secret@127.0.0.1:9/live", r"rtsp://me:\*\*\*@127.0.0.1:9/live: cannot open"),
    ("synthetic:sea", "expected the scene street, got 'sea'"),
    ("synthetic:street?sed=1", "sed: unknown option; did you mean seed"),
    ("synthetic:street?seed=-1", "seed: expected a whole number"),
    ("synthetic:street?size=9", "size: expected WIDTHxHEIGHT"),
    ("synthetic:street?size=99999x99999", "size: expected 64x64 to 7680x4320"),
    ("synthetic:street?fps=nan", r"fps: expected a number in \(0, 1000\]"),
]


@pytest.mark.parametrize(("url", "message"), MISTAKES)
def test_a_wrong_source_says_what_and_where(
    url: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=message):
        open_source(url)


def test_wrong_files_say_so(tmp_path: Path) -> None:
    (tmp_path / "text.avi").write_text("no video")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((1, 1, 3), np.uint8))
    for name, message in {
        "text.avi": "cannot open",
        "empty": "expected a directory with images, found none",
        "empty.png": "expected a JPEG, PNG",
        "one.png": "got 1×1 px",
    }.items():
        with pytest.raises(SourceError, match=message):
            open_source(str(tmp_path / name))


def test_a_picture_too_large_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((6000, 8000), np.uint8))
    with pytest.raises(SourceError, match=r"up to 8K \(33.2 megapixels\), got 8000×6000 px"):
        read_image(tmp_path / "large.png")


def test_passwords_are_masked() -> None:
    assert masked("rtsp://user:p4ss@host/x") == "rtsp://user:***@host/x"
    assert masked("rtsp://host/x") == "rtsp://host/x"


@contextlib.contextmanager
def http_server(folder: Path) -> Iterator[str]:
    """A web server on the loopback interface that serves the files of a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_http_stream_is_read_until_it_breaks_off(video: Path) -> None:
    with http_server(video.parent) as url:
        source = open_source(f"{url}/{video.name}")
        assert source.live
        greys = [int(source.read().bgr().mean().round()) for _ in range(10)]
        assert greys == pytest.approx([20 * i for i in range(10)], abs=2)
        with pytest.raises(SourceError, match="the stream ended or gave nothing") as error:
            source.read()
        assert not isinstance(error.value, EndOfStream)  # a stream is worth opening again
        source.close()
        with pytest.raises(SourceError, match=r"nothere\.avi: cannot open"):
            open_source(f"{url}/nothere.avi")
