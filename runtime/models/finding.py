"""Finding: one result of a check; Subject: what the checks are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from postprocess.plan import HeadPlan
from runtime.models.info import ModelInfo

Level = Literal["ok", "warning", "problem"]
TARGETS = {"rk3588": ("rk3588",), "rdkx5": ("bayes-e",)}  # board -> targets as files name them


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    `text` says what was found, `remedy` what to do and `command` what would settle it ("" where
    there is nothing to say).
    """

    name: str
    level: Level
    text: str
    remedy: str = ""
    command: str = ""


@dataclass(frozen=True)
class Subject:
    """A model file with what else is known: its labels, the board, and the head.

    `plan` is None where no head was recognised; `refusal` then says why.  `target` is a key of
    TARGETS or "".  `stated` names the keys that the manifest states;
    `foreign` is the digest that it states where the file has another one.
    """

    info: ModelInfo
    labels: tuple[str, ...] = ()
    target: str = ""
    plan: HeadPlan | None = None
    refusal: str = ""
    stated: frozenset[str] = frozenset()
    foreign: str = ""
