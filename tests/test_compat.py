"""The version gate: each row of the table in docs/boards.md."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from npud.errors import ModelError
from runtime import compat
from runtime.models.info import ModelInfo, Versions
from runtime.platform_info import Platform

RK = Platform("rk3588", "rockchip", "Rock 5B", driver="0.9.8", runtime="2.3.2", library="/x")
X5 = Platform("rdkx5", "rdk", "RDK X5", runtime="1.24.5", library="/x", hbrt="3.15.55")
LAPTOP = Platform(model="laptop")


def rknn(toolkit: str = "2.3.2", target: str = "rk3588", version: str = "6") -> ModelInfo:
    return ModelInfo("rknn", target=target, versions=Versions(format=version, toolkit=toolkit))


def bin_file(runtime: str = "3.15.55.0", target: str = "bayes-e") -> ModelInfo:
    versions = Versions(toolkit="1.24.3", runtime=runtime)
    return ModelInfo("bin", target=target, versions=versions)


def board(**changes: str) -> Platform:
    return Platform(**(vars(RK) | changes))


TABLE = [
    (rknn(), RK, ["ok", "ok"], "librknnrt 2.3.2, as rknn-toolkit2 2.3.2 asks for"),
    (rknn(target="rk3576"), RK, ["problem"], "made for rk3576, this board is an rk3588"),
    (bin_file(), RK, ["problem"], "made for bayes-e, this board is an rk3588"),
    (rknn(target=""), RK, ["warning", "ok"], "made for an unnamed chip"),
    (rknn(target="rk3566"), board(soc="rk3566"), ["ok", "ok"], "made for rk3566, which this"),
    (rknn("2.5.0"), RK, ["ok", "warning"], "2.5.0, newer than librknnrt 2.3.2"),
    (rknn("1.6.0"), RK, ["ok", "warning"], "1.6.0, older than librknnrt 2.3.2"),
    (rknn(), board(runtime="1.5.0"), ["ok", "problem"], "librknnrt 1.5.0 refuses format 6"),
    (rknn(), board(runtime="1.5.2"), ["ok", "warning"], "librknnrt 1.5.2 may refuse format 6"),
    (rknn("1.6.0"), board(runtime="1.6.0"), ["ok", "ok"], "librknnrt 1.6.0, as"),
    (rknn(), board(runtime="", library=""), ["ok", "warning"], "librknnrt is not installed"),
    (rknn(), board(runtime=""), ["ok", "warning"], "librknnrt names no version"),
    (
        rknn(),
        board(driver="0.8.2"),
        ["ok", "ok", "warning"],
        "rknpu driver 0.8.2 is older than 0.9",
    ),
    (bin_file(), X5, ["ok", "ok"], "made for HBRT 3.15.55.0, which this image has"),
    (bin_file("3.15.54.0"), X5, ["ok", "ok"], "this image has 3.15.55"),
    (bin_file("3.16.1.0"), X5, ["ok", "warning"], "newer than this image's 3.15.55"),
    (bin_file("3.14.5.0"), X5, ["ok", "warning"], "made for HBRT 3.14.5.0, this image has 3.15.55"),
    (bin_file(target="bernoulli2"), X5, ["problem"], "made for bernoulli2, this board is an rdkx5"),
    (rknn(), X5, ["problem"], "made for rk3588, this board is an rdkx5"),
    (rknn(), LAPTOP, [], ""),
    (ModelInfo("onnx"), RK, [], ""),
]


@pytest.mark.parametrize(("info", "platform", "levels", "words"), TABLE)
def test_the_table(info: ModelInfo, platform: Platform, levels: list[str], words: str) -> None:
    found = compat.gate(info, platform)
    assert [finding.level for finding in found] == levels
    assert words in "; ".join(finding.text for finding in found)
    assert all(finding.remedy for finding in found if finding.level == "problem")


def test_refuse_warn_and_silence(caplog: pytest.LogCaptureFixture) -> None:
    path, wrong = Path("m.rknn"), rknn(target="rk3576")
    with pytest.raises(ModelError) as caught:
        compat.enforce(path, wrong, "refuse", RK)
    assert str(caught.value) == (
        "model m.rknn: made for rk3576, this board is an rk3588; convert the original model for "
        'rk3588 (backend.version_check = "warn" tries it nevertheless)'
    )
    with caplog.at_level(logging.WARNING):
        compat.enforce(path, wrong, "warn", RK)
        assert "made for rk3576" in caplog.text
        caplog.clear()
        compat.enforce(path, rknn(), "refuse", RK)
        assert caplog.text == ""
        compat.enforce(path, rknn("2.5.0"), "refuse", RK)
    assert "put librknnrt.so 2.5.0 of rknn-toolkit2 into /usr/lib" in caplog.text
