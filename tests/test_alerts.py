"""The shipped alert rules fire when they should, and rules and dashboard name what there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse

from runtime import config
from runtime.metrics import Exposition
from runtime.recording.backlog import Backlog
from tests.conftest import ROOT
from tests.test_metrics import board, idle_pipeline

RULES = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/npud.json"
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
OWN = {"job", "instance", "alertname", "alertstate"}  # labels of Prometheus' own
promtool = pytest.mark.skipif(not PROMTOOL, reason="no promtool (Debian: prometheus); or PROMTOOL")


@pytest.fixture
def samples(tmp_path: Path) -> Iterator[dict[str, set[str]]]:
    """Names of all samples in the exposition, and their labels."""
    pipeline, _ = idle_pipeline()
    backlog = Backlog(config.Record(enabled=True, folder=str(tmp_path / "kept")))
    page = Exposition(pipeline, backlog, board(tmp_path / "sys")).page("")[1].decode()
    found: dict[str, set[str]] = {"up": set(), "ALERTS": set()}
    for family in parse(page):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    yield found
    backlog.close()


def rules() -> list[dict[str, Any]]:
    return [rule for g in yaml.safe_load(RULES.read_text())["groups"] for rule in g["rules"]]


def expressions() -> list[str]:
    """All PromQL of the dashboard: panels, annotations, variables."""
    board = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [one["expr"] for one in board["annotations"]["list"]]
    queries = (one.get("definition", "") for one in board["templating"]["list"])
    return found + [q[len("label_values(") : q.rindex(",")] for q in queries if q]


def check_names(expression: str, samples: dict[str, set[str]]) -> None:
    """Every metric and every label in an expression exists."""
    words = re.sub(r'"[^"]*"', '""', expression)
    for name, labels in re.findall(r"\b((?:npud|process)_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", words):
        assert name in samples, f"{name} in {expression}"
        asked = set(re.findall(r"(\w+)\s*(?:=|!)", labels))
        assert asked <= samples[name] | OWN, f"{asked} of {name} in {expression}"
    everywhere = set().union(*samples.values()) | OWN
    for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", words):
        assert set(re.findall(r"\w+", group)) <= everywhere, expression


def test_every_rule_asks_for_what_is_told(samples: dict[str, set[str]]) -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        check_names(rule["expr"], samples)
        shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert shown <= set().union(*samples.values()) | OWN


def test_every_panel_asks_for_what_is_told(samples: dict[str, set[str]]) -> None:
    assert len(expressions()) > 15
    for expression in expressions():
        check_names(expression, samples)
    with pytest.raises(AssertionError):
        check_names("rate(npud_frames_seen_total[5m])", samples)
    with pytest.raises(AssertionError):
        check_names('npud_frames_captured_total{stage="x"}', samples)


def test_the_dashboard_is_as_grafana_wants_it() -> None:
    """What an import needs: ids and places of panels, variables that are declared."""
    board = json.loads(DASHBOARD.read_text())
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= board.keys()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    declared = {one["name"] for one in board["templating"]["list"]} | {"__rate_interval", "__all"}
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text()))
    assert used <= declared


@promtool
def test_the_rules_fire_when_they_should() -> None:
    for arguments in (
        ["check", "rules", RULES],
        ["test", "rules", "tests/prometheus/alerts_test.yml"],
    ):
        run = subprocess.run([str(PROMTOOL), *arguments], cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


@promtool
def test_the_dashboards_expressions_are_promql(tmp_path: Path) -> None:
    """As recording rules, which promtool parses."""
    found = [
        {"record": f"panel:number_{n}", "expr": e.replace("$__rate_interval", "1m")}
        for n, e in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": found}]}))
    run = subprocess.run([str(PROMTOOL), "check", "rules", path], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@promtool
def test_the_exposition_passes_the_linter(tmp_path: Path) -> None:
    pipeline, _ = idle_pipeline()
    kind, text = Exposition(pipeline, None).page("text/plain")
    assert kind.startswith("text/plain; version=")
    run = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()


def lost(written: Any, read: Any, path: str = "") -> set[str]:
    """Where in a JSON document another one has something else, or nothing."""
    if isinstance(written, dict) and isinstance(read, dict):
        return set().union(*(lost(v, read.get(k), f"{path}.{k}") for k, v in written.items()))
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        return set().union(*(lost(a, b, f"{path}[]") for a, b in zip(written, read)))
    return set() if written == read else {path}


def test_grafanas_own_sdk_reads_all_of_the_dashboard() -> None:
    dashboard = pytest.importorskip("grafana_foundation_sdk.models.dashboard").Dashboard
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder").JSONEncoder
    written = json.loads(DASHBOARD.read_text())
    read = json.loads(encoder().encode(dashboard.from_json(written)))
    unknown_to_it = {".annotations.list[].titleFormat", ".templating.list[].definition"}
    assert lost(written, read) == unknown_to_it  # Grafana writes both by itself
