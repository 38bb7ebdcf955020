"""Variant b beside the published one: shadow, split, promotion."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import npud
from npud import CompareMessage, DetectionsMessage
from npud.errors import ConfigError
from npud.wire import decode, encode
from runtime import config
from runtime.ab import comparing
from runtime.ab.live import sampled
from runtime.contexts import open_engine
from runtime.detector import read_model
from runtime.pipeline import Pipeline
from runtime.scenes import LABELS
from tests.ab.test_offline import changed
from tests.conftest import Daemon
from tests.test_daemon import receive
from tests.test_reload import Heard, copy_of_model

Start = Callable[..., Daemon]
Command = Callable[..., tuple[int, str, str]]
FRAMES = 60


def settings(path: Path, isolation: str = "thread", **compare: object) -> config.Config:
    return config.parse(
        {
            "model": {"path": str(path)},
            "backend": {"isolation": isolation, "threads": 1, "deadline_ms": 60_000},
            "camera": {
                "cam": {"url": f"synthetic:street?seed=3&size=320x240&frames={FRAMES}&fps=20"}
            },
            "compare": compare,
        }
    )


def run(chosen: config.Config, every_frame: bool) -> tuple[Heard, list[CompareMessage], Pipeline]:
    """Work through the frames; what was published, and what the comparison has shown."""
    engine = open_engine(read_model(chosen.model), chosen.model, chosen.backend)
    heard = Heard()
    pipeline = Pipeline(chosen.camera, engine, heard, config.Publish(), every_frame=every_frame)
    comparing.begin(pipeline, chosen)
    live = pipeline.live
    assert live is not None
    pipeline.open(threading.Event())
    pipeline.start()
    try:
        while pipeline.running():
            time.sleep(0.02)
    finally:
        pipeline.stop()
        while live._busy or live._job:
            time.sleep(0.01)
        shown = live.figures(0, engine.files.name)
        comparing.end(pipeline)
        engine.close()
    assert pipeline.failure is None
    return heard, shown, pipeline


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_shadow_that_is_a_shows_no_difference(tmp_path: Path, isolation: str) -> None:
    chosen = settings(copy_of_model(tmp_path, "one"), isolation, mode="shadow", sample=1.0)
    heard, (shown,), pipeline = run(chosen, every_frame=False)
    assert shown.frames > 0
    assert shown.frames + shown.skipped == len(heard.detections())
    for name in ("score_shift", "boxes", "only_a", "only_b", "shift"):
        assert (shown.low[name], shown.high[name]) == (0, 0), name
    assert shown.verdict[0].startswith("no difference shown yet")
    assert {shown.spread[f"{name}_max"] for name in ("score", "iou", "shift")} == {0}
    assert set(shown.classes) <= set(LABELS)
    assert sum(one["matched"] for one in shown.classes.values()) > 0
    assert all(m.variant == "" for m in heard.detections())
    ring = pipeline._cameras["cam"].capture._ring
    assert ring is None or ring.held() == 0
    topic, payload = encode(shown)
    assert decode((topic, payload)) == shown


def test_a_shadow_that_differs_is_told(tmp_path: Path) -> None:
    b = {"score_threshold": 0.85}
    chosen = settings(copy_of_model(tmp_path, "one"), mode="shadow", sample=1.0, model=b)
    _, (shown,), _ = run(chosen, every_frame=False)
    assert shown.values["only_a"] > 0
    assert shown.values["score_shift"] == 0
    lost = sum(one["only_a"] for one in shown.classes.values())
    matched = sum(one["matched"] for one in shown.classes.values())
    assert shown.values["only_a"] == pytest.approx(100 * lost / (lost + matched))


def test_a_split_publishes_every_frame_once_and_names_its_variant(tmp_path: Path) -> None:
    copy_of_model(tmp_path, "two")
    b = {"path": str(tmp_path / "two.onnx"), "score_threshold": 0.85}
    chosen = settings(copy_of_model(tmp_path, "one"), mode="split", sample=0.4, model=b)
    heard, (shown,), _ = run(chosen, every_frame=True)
    messages = heard.detections()
    assert [m.frame for m in messages] == list(range(FRAMES))
    for m in messages:
        expected = "b" if sampled("cam", m.frame, 0.4) else "a"
        assert m.variant == expected
        assert m.model.startswith("two@" if expected == "b" else "one@")
    assert shown.mode == "split"
    assert shown.frames == FRAMES
    assert shown.values["boxes_per_frame"] < 0


def test_classes_of_b_get_the_numbers_that_a_has_for_their_names(tmp_path: Path) -> None:
    one = copy_of_model(tmp_path, "one")
    b = {"path": str(changed(tmp_path / "two.onnx", reverse=True))}
    _, (shown,), _ = run(settings(one, mode="shadow", sample=1.0, model=b), every_frame=False)
    assert (shown.values["only_a"], shown.values["only_b"]) == (0, 0)
    alone, _, _ = run(settings(one, mode="split", sample=1e-9, model=b), every_frame=True)
    mixed, _, _ = run(settings(one, mode="split", sample=0.5, model=b), every_frame=True)
    assert {m.variant for m in mixed.detections()} == {"a", "b"}
    for expected, got in zip(alone.detections(), mixed.detections()):
        ids = (m.detections.class_ids.tolist() for m in (expected, got))
        assert len(set(map(tuple, ids))) == 1, got.frame


def test_the_hash_takes_its_share_and_the_same_frames_always() -> None:
    taken = [sampled("front", frame, 0.1) for frame in range(20_000)]
    assert 0.09 < sum(taken) / len(taken) < 0.11
    assert taken == [sampled("front", frame, 0.1) for frame in range(20_000)]
    assert all(sampled("front", frame, 1.0) for frame in range(1000))


def test_mistakes_in_b_are_named() -> None:
    for table, said in (
        ({"model": {"sigmod": "exact"}}, "compare.model.sigmod: unknown key; did you mean sigmoid"),
        ({"model": {"input": {"letterbox": "x"}}}, "compare.model.input.letterbox: expected one"),
        ({"backend": {"contexts": 0}}, "compare.backend.contexts: expected"),
        ({"mode": "both"}, "compare.mode: expected one of"),
        ({"sample": 0}, "compare.sample: expected"),
    ):
        with pytest.raises(ConfigError) as refused:
            config.parse({"compare": table}, "config.toml")
        assert said in str(refused.value), refused.value


def test_promotion_by_command_and_back(
    daemon: Start, command: Command, endpoint: str, tmp_path: Path
) -> None:
    one, two = copy_of_model(tmp_path, "one"), copy_of_model(tmp_path, "two")
    path, log = tmp_path / "config.toml", tmp_path / "promotions.jsonl"
    path.write_text(
        f'[model]\npath = "{one}"\n[backend]\nthreads = 1\n'
        f'[publish]\nendpoint = "{endpoint}"\n'
        '[camera.cam]\nurl = "synthetic:street?seed=3&size=320x240&fps=20"\n'
        f'[compare]\nmode = "shadow"\nsample = 1.0\nlog = "{log}"\n[compare.model]\npath = "{two}"\n'
    )
    started = daemon("--config", str(path))

    def publishes(stem: str) -> Callable[[npud.Message], bool]:
        return lambda m: isinstance(m, DetectionsMessage) and m.model.startswith(f"{stem}@")

    receive(endpoint, publishes("one"))
    with npud.subscribe(endpoint, topics=("compare",), heartbeat_timeout_s=None) as subscriber:
        assert isinstance(subscriber.recv(60), CompareMessage)  # there is something to write down
    code, out, error = command("promote", endpoint)
    assert code == 0, error
    assert out.startswith("published now: two@")
    receive(endpoint, publishes("two"))
    code, _, error = command("promote", endpoint)
    assert (code, "nothing is compared" in error) == (1, True)
    assert command("promote", endpoint, "--back")[0] == 0
    receive(endpoint, publishes("one"))
    assert started.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["what"] for line in lines] == ["promoted", "taken back"]
    assert lines[0]["cameras"][0]["model_b"].startswith("two@")
    assert "Traceback" not in started.log


def test_promotion_by_itself_when_it_loses_nothing(
    daemon: Start, endpoint: str, tmp_path: Path
) -> None:
    one, two = copy_of_model(tmp_path, "one"), copy_of_model(tmp_path, "two")
    path = tmp_path / "config.toml"
    path.write_text(
        f'[model]\npath = "{one}"\n[backend]\nthreads = 1\n[publish]\nendpoint = "{endpoint}"\n'
        '[camera.cam]\nurl = "synthetic:street?seed=3&size=320x240&fps=20"\n'
        '[compare]\nmode = "shadow"\nsample = 1.0\npromote_after = 5\n'
        f'[compare.model]\npath = "{two}"\n'
    )
    started = daemon("--config", str(path))
    receive(endpoint, lambda m: isinstance(m, DetectionsMessage) and m.model.startswith("two@"))
    assert started.stop() == 0
    assert "promoted: two@" in started.log
    assert started.log.count("promoted") == 1
