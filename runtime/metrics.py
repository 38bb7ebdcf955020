"""Prometheus metrics, read from the pipeline when they are asked for (docs/metrics.md).

Nothing is counted here: what there is to tell is CameraStats', the supervisors', the recorder's.
Needs the extra `metrics` (prometheus_client).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

import npud
from npud.messages import State
from runtime.board_state import SYS, clocks_hz, cooling, npu_load
from runtime.histogram import BOUNDS_S, Counted
from runtime.pipeline import Pipeline
from runtime.recording.backlog import Backlog
from runtime.thermal import temperatures_c

MIB = 1 << 20


class Collector:
    """What prometheus_client asks at every scrape."""

    def __init__(self, pipeline: Pipeline, backlog: Backlog | None, sys: Path = SYS) -> None:
        self._pipeline, self._backlog, self._sys = pipeline, backlog, sys

    def collect(self) -> Iterator[Metric]:
        """All metrics there are."""
        yield from self._frames()
        yield from self._cameras()
        yield from self._engine()
        yield from self._board()
        yield from self._recording()
        yield from self._comparison()

    def _frames(self) -> Iterator[Metric]:
        captured = _counter("frames_captured", "Frames taken from the camera", "camera")
        published = _counter("frames_published", "Frames whose detections are out", "camera")
        dropped = _counter("frames_dropped", "Frames captured, not published", "camera", "reason")
        alarms = _counter("alarms", "How often the camera became degraded", "camera", "kind")
        stages = _histogram("stage_seconds", "Time in a stage, published frames", "camera", "stage")
        age = _histogram("frame_age_seconds", "From capture to publication", "camera")
        for camera, tally in self._pipeline.tallies().items():
            captured.add_metric([camera], tally.captured)
            published.add_metric([camera], tally.published)
            for reason, count in tally.dropped.items():
                dropped.add_metric([camera, reason], count)
            for kind, count in tally.alarms.items():
                alarms.add_metric([camera, kind], count)
            for stage, counted in tally.stages.items():
                _put(stages, [camera, stage], counted)
            _put(age, [camera], tally.age)
        yield from (captured, published, dropped, alarms, stages, age)

    def _cameras(self) -> Iterator[Metric]:
        state = _gauge("camera_state", "1 for the state that the camera is in", "camera", "state")
        fps = _gauge("camera_frames_per_second", "Published in the last seconds", "camera")
        for status in self._pipeline.statuses():
            for name in get_args(State):
                state.add_metric([status.camera, name], float(status.state == name))
            fps.add_metric([status.camera], status.fps)
        yield from (state, fps)

    def _engine(self) -> Iterator[Metric]:
        engine = self._pipeline.engine
        files = engine.files
        build = _gauge("build_info", "The version that runs", "version")
        build.add_metric([npud.__version__], 1)
        yield build
        model = _gauge("model_info", "The model in use", "name", "digest", "manifest", "backend")
        name, _, digest = files.name.rpartition("@")
        model.add_metric([name, digest, files.manifest_digest, engine.backend()], 1)
        yield model
        trouble = _gauge("engine_trouble", "1 where the model gives nothing, or is doubted")
        trouble.add_metric([], float(bool(engine.trouble())))
        yield trouble
        up = _gauge("worker_up", "1 where the worker process is there", "worker")
        restarts = _counter("worker_restarts", "How often it was replaced", "worker")
        memory = _gauge("worker_memory_bytes", "Resident, after its last frame", "worker")
        for worker in engine.workers():
            label = [str(worker.number)]
            up.add_metric(label, float(worker.pid > 0))
            restarts.add_metric(label, worker.restarts)
            memory.add_metric(label, worker.rss_mib * MIB)
        yield from (up, restarts, memory)

    def _board(self) -> Iterator[Metric]:
        heat = _gauge("temperature_celsius", "Of a thermal zone", "zone")
        for zone, celsius in temperatures_c(self._sys / "class/thermal").items():
            heat.add_metric([zone], celsius)
        clock = _gauge("clock_hertz", "Present clock of CPU clusters, NPU, memory", "clock")
        for name, hertz in clocks_hz(self._sys).items():
            clock.add_metric([name], hertz)
        load = _gauge("npu_load_ratio", "How busy a core of the NPU is", "core")
        for core, ratio in npu_load(self._sys).items():
            load.add_metric([core], ratio)
        state = _gauge("cooling_state", "0: not slowed down", "device", "type")
        most = _gauge("cooling_state_max", "The most it can be slowed down", "device", "type")
        for one in cooling(self._sys):
            state.add_metric([one.device, one.kind], one.state)
            most.add_metric([one.device, one.kind], one.most)
        yield from (heat, clock, load, state, most)

    def _recording(self) -> Iterator[Metric]:
        if self._backlog is None:
            return
        state = self._backlog.state()
        for name, about, value in (
            ("backlog_frames", "Frames of the last seconds in memory", state["frames"]),
            ("backlog_seconds", "Time between the first and the last of them", state["seconds"]),
            ("backlog_bytes", "Memory that they take", state["bytes"]),
            ("backlog_max_bytes", "Memory that they may take", state["max_bytes"]),
        ):
            yield GaugeMetricFamily(f"npud_{name}", about, value=value)
        dropped = _counter("backlog_dropped", "Frames that came faster than they were packed")
        dropped.add_metric([], state["dropped"])
        yield dropped

    def _comparison(self) -> Iterator[Metric]:
        live = self._pipeline.live
        if live is None:
            return
        frames = _gauge("compare_frames", "Frames that the figures are of", "camera")
        skipped = _counter("compare_skipped", "Sampled frames that b did not get", "camera")
        value = _gauge("compare", "A measure of b less a", "camera", "measure", "bound")
        for one in live.latest:
            frames.add_metric([one.camera], one.frames)
            skipped.add_metric([one.camera], one.skipped)
            for bound, values in (("value", one.values), ("low", one.low), ("high", one.high)):
                for measure, number in values.items():
                    value.add_metric([one.camera, measure, bound], number)
        yield from (frames, skipped, value)


class Exposition:
    """The page /metrics."""

    def __init__(self, pipeline: Pipeline, backlog: Backlog | None, sys: Path = SYS) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(Collector(pipeline, backlog, sys))
        ProcessCollector(registry=self._registry)

    def page(self, accept: str) -> tuple[str, bytes]:
        """(content type, text) in the form that an Accept header asks for."""
        encode, kind = choose_encoder(accept)
        return kind, encode(self._registry)


def _counter(name: str, about: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"npud_{name}", about, labels=labels)


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"npud_{name}", about, labels=labels)


def _histogram(name: str, about: str, *labels: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"npud_{name}", about, labels=labels)


def _put(family: HistogramMetricFamily, labels: list[str], counted: Counted) -> None:
    bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
    family.add_metric(labels, list(zip(bounds, counted.at_most)), counted.sum_s)
