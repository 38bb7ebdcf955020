"""The pipeline with cameras that are quicker than the inference."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from npud import Detections
from npud.errors import InferenceError
from runtime import bundled, config, sources
from runtime.detector import Timing, read_model
from runtime.engine import Engine
from runtime.frame import Frame
from runtime.pipeline import Pipeline
from runtime.publish import Publisher

SHAPES = {"bgr": (1080, 1920, 3), "nv12": (1620, 1920)}
FRAMES = 150


class Slow:
    """A detector that takes longer than the cameras, and fails now and then."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.files = read_model(config.Model(path=str(bundled.MODEL)))
        self._shape = shape
        self.seen = 0

    def ready(self, timeout_s: float) -> bool:
        return True

    def problem(self) -> str:
        return ""

    def doubt(self) -> str:
        return ""

    def worker(self) -> None:
        return None

    def detect(self, frame: Frame) -> tuple[Detections, Timing]:
        assert frame.pixels.shape == self._shape
        assert (frame.width_px, frame.height_px) == (1920, 1080)
        self.seen += 1
        time.sleep(0.05)
        if self.seen % 3 == 0:
            raise InferenceError("as every third time")
        return Detections.empty(), Timing(0, 50_000, 0)


@contextmanager
def at_work(endpoint: str, detector: Slow, kind: str, shared: bool) -> Iterator[Pipeline]:
    url = f"synthetic:still?fps=400&format={kind}"
    cameras = {name: config.Camera(url=url) for name in ("a", "b")}
    publish = config.Publish(endpoint=endpoint)
    publisher = Publisher(publish)
    engine = Engine(detector.files, [detector], shared=shared)  # type: ignore[list-item]
    pipeline = Pipeline(cameras, engine, publisher, publish)
    pipeline.open(threading.Event())
    pipeline.start()
    try:
        yield pipeline
    finally:
        pipeline.stop()
        publisher.close()


def captured(pipeline: Pipeline) -> int:
    return min(camera.stats.captured for camera in pipeline._cameras.values())


def rss_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


@pytest.mark.parametrize("shared", [True, False], ids=["shared memory", "own memory"])
@pytest.mark.parametrize("kind", ["bgr", "nv12"])
def test_memory_is_flat_when_inference_is_slower_than_the_cameras(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, kind: str, shared: bool
) -> None:
    monkeypatch.setitem(sources.SOURCES, "synthetic", "benchmarks.pipeline_parts:Still")
    detector = Slow(SHAPES[kind])
    with at_work(endpoint, detector, kind, shared) as pipeline:
        while captured(pipeline) < FRAMES // 3:
            time.sleep(0.01)
        before = rss_kib()
        while captured(pipeline) < FRAMES:
            time.sleep(0.01)
        grown_mib = (rss_kib() - before) / 1024
        dropped = sum(camera.stats.dropped for camera in pipeline._cameras.values())
    assert pipeline.failure is None
    assert dropped > FRAMES
    frame_mib = 1080 * 1920 * (3 if kind == "bgr" else 1.5) / 2**20
    assert grown_mib < 8 * frame_mib  # a queue of what was dropped would be a hundred frames
    rings = [camera.capture._ring for camera in pipeline._cameras.values()]
    assert all((ring is not None) == shared for ring in rings)
    assert all(ring.held() <= 1 for ring in rings if ring)  # what still waited in the mailbox
