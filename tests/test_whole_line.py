"""The whole line, 1080p video to subscriber through worker processes, against `npud detect`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import npud
from npud import Detections, DetectionsMessage, StatusMessage
from runtime import bundled
from runtime.accuracy.matching import match
from runtime.scenes import Street
from runtime.sources import open_source
from runtime.sources.base import SourceOptions
from tests.conftest import Daemon
from tests.test_daemon import receive

av = pytest.importorskip("av")
FRAMES = 8
Start = Callable[..., Daemon]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def street() -> list[np.ndarray]:
    scene = Street(5, (1920, 1080))
    return [scene.frame(40 * number)[0] for number in range(FRAMES)]


def write_video(path: Path, pictures: list[np.ndarray]) -> None:
    """Lossless (FFV1), 4:2:0: what the decoder gives is what was written, in NV12 and in BGR."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def published(start: Start, endpoint: str, config: Path) -> dict[int, Detections]:
    """What a subscriber gets of every frame; the daemon waits for it: the video is repeated."""
    found: dict[int, Detections] = {}

    def until(message: npud.Message) -> bool:
        if isinstance(message, DetectionsMessage):
            found[message.frame % FRAMES] = message.detections
        return isinstance(message, StatusMessage) and len(found) == FRAMES

    daemon = start("--config", str(config), "--every-frame")
    receive(endpoint, until)
    assert daemon.stop() == 0, daemon.log
    return found


def detected(command: Command, model: Path, folder: Path) -> dict[int, Detections]:
    """`npud detect` on the pictures of a folder."""
    code, out, error = command("detect", model, folder, "--json")
    assert code == 0, error
    results: list[dict[str, Any]] = json.loads(out)
    return {
        number: Detections(
            np.array([d["box"] for d in one["detections"]], np.float32).reshape(-1, 4),
            np.array([d["score"] for d in one["detections"]], np.float32),
            np.array([d["class_id"] for d in one["detections"]], np.int32),
        )
        for number, one in enumerate(results)
    }


@pytest.mark.parametrize("kind", ["bgr", "nv12"])
def test_what_is_published_is_what_detect_finds(
    kind: str,
    street: list[np.ndarray],
    daemon: Start,
    endpoint: str,
    command: Command,
    tmp_path: Path,
) -> None:
    video, folder = tmp_path / "street.mkv", tmp_path / "frames"
    write_video(video, street)
    folder.mkdir()
    source = open_source(str(video), SourceOptions(format="bgr"))
    for number in range(FRAMES):
        cv2.imwrite(str(folder / f"{number}.png"), source.read().pixels)
    source.close()
    config = tmp_path / "config.toml"
    config.write_text(
        f"""
        [backend]
        isolation = "process"
        deadline_ms = 60000
        contexts = 2
        [camera.cam]
        url = "{video}"
        format = "{kind}"
        loop = true
        [publish]
        endpoint = "{endpoint}"
        """
    )
    expected = detected(command, bundled.MODEL, folder)
    found = published(daemon, endpoint, config)
    assert sum(len(one) for one in expected.values()) > 2 * FRAMES
    for number, one in expected.items():
        if kind == "bgr":
            assert np.allclose(found[number].boxes, one.boxes, atol=1e-3)
            assert np.allclose(found[number].scores, one.scores, atol=1e-5)
            assert np.array_equal(found[number].class_ids, one.class_ids)
        else:  # NV12 is resized as it is, BGR after OpenCV has made it of the same planes
            pairs = match(found[number], one)
            assert len(pairs) >= max(len(one), len(found[number])) - 1
            assert pairs.iou.min() > 0.9
            shift = np.abs(found[number].scores[pairs.a] - one.scores[pairs.b])
            assert shift.max() < 0.05
