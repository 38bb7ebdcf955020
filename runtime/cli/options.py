"""Command-line options that several commands share, and what they make of the config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from npud.errors import ConfigError
from runtime import config
from runtime.backends import BACKENDS
from runtime.config import Config
from runtime.validate import load_toml

F = TypeVar("F", bound=Callable[..., Any])


def thresholds(function: F) -> F:
    """Add --score, --iou and --max-det, which override the config's [model]."""
    given = config.Model()
    defaults = given.score_threshold, given.iou_threshold, given.max_detections
    return _with_thresholds(function, *defaults)


def recorded_thresholds(function: F) -> F:
    """Add --score, --iou and --max-det, which replace those of a recording."""
    return _with_thresholds(function, *("as recorded",) * 3)


def _with_thresholds(function: F, score: object, iou: object, count: object) -> F:
    for option in (
        click.option(
            "--max-det",
            "max_detections",
            type=int,
            help=f"At most this many detections per frame.  [{count}]",
        ),
        click.option(
            "--iou",
            "iou_threshold",
            type=float,
            help="Drop boxes that overlap a better one of their class by more; "
            f"1 means no NMS.  [{iou}]",
        ),
        click.option(
            "--score",
            "score_threshold",
            type=float,
            help=f"Drop detections below this score.  [{score}]",
        ),
    ):
        function = option(function)
    return function


def backend(function: F) -> F:
    """Add --backend, which overrides the config's backend.name."""
    option = click.option(
        "--backend",
        metavar="NAME",
        help=f"What runs the model: auto, {', '.join(BACKENDS)}, or module:Class.  [auto]",
    )
    return option(function)


def build(
    path: Path | None, tables: dict[str, dict[str, Any]], settings: Sequence[str] = ()
) -> Config:
    """The config file (or the defaults) with command-line values over it; None is "not given".

    settings: "model.sigmoid=exact" and the like, over all.
    """
    raw = load_toml(path) if path else {}
    for name, values in tables.items():
        given = {key: value for key, value in values.items() if value is not None}
        if given:
            below = raw.get(name, {})
            raw[name] = {**below, **given} if isinstance(below, dict) else given
    for setting in settings:
        _set(raw, setting)
    return config.parse(raw, str(path) if path else "command line")


def _set(raw: dict[str, Any], setting: str) -> None:
    """Put KEY=VALUE into a document; VALUE is TOML, or else a string."""
    key, equals, text = setting.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"expected KEY=VALUE such as model.sigmoid=exact, got {setting!r}")
    from runtime.drafting.draft import value_of

    table: Any = raw
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{key}: expected tables before the last name")
    table[names[-1]] = value_of(text)
