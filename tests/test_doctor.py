"""`npud doctor` on trees of files that look like a Rock 5B, an RDK X5 and a laptop."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime import doctor
from runtime.doctor import software
from runtime.models.finding import Finding
from runtime.platform_info import read_platform
from tests.models import build

Npud = Callable[..., tuple[int, str, str]]
LIBRKNNRT = b"\x7fELF\0librknnrt version: 2.3.2 (429f97ae6b@2025-04-09T09:09:27)\0"
LIBDNN = b"\x7fELF\0version = \0" + b"1.24.5_(3.15.55 HBRT)\0"
MEMORY = "MemTotal: 8140000 kB\nMemFree: 100 kB\nMemAvailable: 6000000 kB\nCmaFree: 204800 kB\n"
ROCK_5B: dict[str, str | bytes] = {
    "proc/device-tree/model": "Radxa ROCK 5B\0",
    "proc/device-tree/compatible": "radxa,rock-5b\0rockchip,rk3588\0",
    "proc/meminfo": MEMORY,
    "dev/dri/renderD129": "",
    "dev/video11": "",
    "sys/class/video4linux/video11/name": "rkisp_mainpath\n",
    "sys/kernel/debug/rknpu/version": "RKNPU driver: v0.9.8\n",
    "sys/class/devfreq/fdab0000.npu/governor": "rknpu_ondemand\n",
    "sys/class/devfreq/fdab0000.npu/cur_freq": "1000000000\n",
    "sys/class/devfreq/fdab0000.npu/max_freq": "1000000000\n",
    "sys/devices/system/cpu/cpufreq/policy4/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq": "408000\n",
    "sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq": "2400000\n",
    "sys/class/thermal/thermal_zone6/type": "npu-thermal\n",
    "sys/class/thermal/thermal_zone6/temp": "47153\n",
    "usr/lib/librknnrt.so": LIBRKNNRT,
    "run/npud/keep": "",
}
RDK_X5: dict[str, str | bytes] = {
    "proc/device-tree/model": "D-Robotics RDK X5 V1.0\0",
    "sys/class/socinfo/board_id": "302\n",
    "proc/meminfo": MEMORY,
    "dev/bpu_core0": "",
    "sys/class/thermal/thermal_zone1/type": "cpu\n",
    "sys/class/thermal/thermal_zone1/temp": "61000\n",
    "usr/hobot/lib/libdnn.so": LIBDNN,
    "run/npud/keep": "",
}
LAPTOP: dict[str, str | bytes] = {
    "sys/class/dmi/id/product_name": "ThinkPad X1\n",
    "proc/meminfo": MEMORY,
    "run/npud/keep": "",
}


def make(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def examine(root: Path, endpoint: str = "ipc:///run/npud/detections") -> dict[str, Finding]:
    found = doctor.examine(doctor.machine_at(root, endpoint))
    return {f.name: f for findings in found.values() for f in reversed(findings)}


def test_a_rock_5b_that_is_well(tmp_path: Path, command: Npud) -> None:
    root = make(tmp_path, ROCK_5B)
    code, out, err = command("doctor", "--root", root)
    assert (code, err) == (0, "")
    for words in (
        "Radxa ROCK 5B (rk3588)",
        "/dev/dri/renderD129 can be read and written",
        "rknpu 0.9.8",
        "2.3.2, /usr/lib/librknnrt.so",
        "5859 of 7949 MB available; 200 MB for devices",
        "ondemand 0.4 of 2.4 GHz",
        "rknpu_ondemand 1.0 of 1.0 GHz",
        "npu-thermal 47 °C",
        "/dev/video11 rkisp_mainpath",
        "ipc:///run/npud/detections, /run/npud can be written",
        "all is well",
    ):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80


def test_an_rdk_x5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(make(tmp_path, RDK_X5))
    assert found["chip"].text == "D-Robotics RDK X5 V1.0 (rdkx5)"
    assert found["libdnn"].text == "1.24.5 with HBRT 3.15.55, /usr/hobot/lib/libdnn.so"
    assert found["BPU"].level == "ok"
    monkeypatch.setattr(software, "_installed", lambda name: "2.1.0")
    abi = examine(tmp_path)["numpy"]
    assert (abi.level, abi.text) == ("problem", "2.1.0, but pyeasy_dnn is built for NumPy 1")


def test_a_laptop_has_no_problem(tmp_path: Path, command: Npud) -> None:
    code, out, _ = command("doctor", "--root", make(tmp_path, LAPTOP), "--json")
    result = json.loads(out)
    assert (code, result["problems"]) == (0, 0)
    (chip,) = result["sections"]["board"]
    assert chip["text"].startswith("ThinkPad X1: no NPU that npud knows; .onnx models run")


def test_this_machine(command: Npud) -> None:
    code, out, err = command("doctor", "--json")
    assert err == ""
    result = json.loads(out)
    assert code == (1 if result["problems"] else 0)
    assert {f["name"] for f in result["sections"]["software"]} >= {"versions", "binding"}


def gone(files: Mapping[str, str | bytes], *names: str) -> dict[str, str | bytes]:
    return {k: v for k, v in files.items() if not k.startswith(names)}


BROKEN: list[tuple[dict[str, Any], str, str, str]] = [
    (gone(ROCK_5B, "dev/dri"), "NPU", "problem", "rknpu driver"),
    (gone(RDK_X5, "dev/bpu"), "BPU", "problem", "D-Robotics' own image"),
    (gone(ROCK_5B, "usr/lib"), "librknnrt", "problem", "copy librknnrt.so"),
    (gone(RDK_X5, "usr/hobot"), "libdnn", "problem", "apt install hobot-dnn"),
    (gone(ROCK_5B, "run"), "endpoint", "warning", "sudo install -d -o $USER /run/npud"),
    (ROCK_5B | {"sys/kernel/debug/rknpu/version": "RKNPU driver: v0.8.2"}, "driver", "warning", "up"),
    (ROCK_5B | {"proc/meminfo": "MemTotal: 900000 kB\nMemAvailable: 90000 kB\n"}, "memory", "problem", "end other"),
    (ROCK_5B | {"sys/class/thermal/thermal_zone6/temp": "96000"}, "temperature", "problem", "heat sink"),
    (ROCK_5B | {"sys/class/thermal/thermal_zone6/temp": "85000"}, "temperature", "warning", "heat sink"),
    (ROCK_5B | {"sys/devices/system/cpu/cpufreq/policy4/scaling_governor": "powersave"}, "CPU clock", "warning",
     "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"),
    (ROCK_5B | {"usr/local/lib/librknnrt.so": LIBRKNNRT.replace(b"2.3.2", b"1.5.2")}, "librknnrt", "warning", "keep one"),
    (gone(ROCK_5B, "usr/lib") | {"usr/lib/aarch64-linux-gnu/librknnrt.so": LIBRKNNRT}, "librknnrt", "warning", "sudo ln -s"),
    (ROCK_5B | {"proc/device-tree/compatible": "x\0rockchip,rk3566\0"}, "chip", "warning", "tell us"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "name", "level", "remedy"), BROKEN)
def test_what_is_wrong_comes_with_a_remedy(
    tmp_path: Path, files: dict[str, Any], name: str, level: str, remedy: str
) -> None:
    root = make(tmp_path, files)
    machine = doctor.machine_at(root, "ipc:///run/npud/detections")
    found = [f for group in doctor.examine(machine).values() for f in group if f.level != "ok"]
    hits = [f for f in found if (f.name, f.level) == (name, level)]
    assert hits, found
    assert remedy in hits[-1].remedy


def test_a_node_of_another_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path, ROCK_5B)
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, m: "renderD129" not in str(p) and real(p, m))
    found = examine(root)["NPU"]
    assert found.level == "problem"
    assert found.remedy.startswith("sudo usermod -aG ")


def test_bad_endpoints(tmp_path: Path) -> None:
    root = make(tmp_path, LAPTOP)
    assert examine(root, "ipx://a")["endpoint"].level == "problem"
    assert examine(root, "tcp://127.0.0.1:5555")["endpoint"].level == "ok"


def test_the_configured_model_is_held_against_the_board(tmp_path: Path, command: Npud) -> None:
    root = make(tmp_path / "root", ROCK_5B)
    model = tmp_path / "m.bin"
    model.write_bytes(build.bin_heads())
    config = tmp_path / "c.toml"
    config.write_text(f'[model]\npath = "{model}"\n')
    code, out, _ = command("doctor", "--root", root, "-c", config)
    assert code == 1
    assert "problem  target       made for bayes-e, this board is an rk3588" in out
    assert "1 problem" in out.splitlines()[-1]


def test_an_import_that_misses_a_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = {f.name: f for f in software.bindings(doctor.machine_at(Path("/"), "ipc:///x"))}
    assert found["opencv"].text.startswith("libGL.so.1: cannot open")
    assert found["opencv"].remedy == "sudo apt install libgl1"
    (tmp_path / "cv2.py").write_text("import os; os.abort()")
    found = {f.name: f for f in software.bindings(doctor.machine_at(Path("/"), "ipc:///x"))}
    assert found["opencv"].text == "importing it kills the process (signal 6)"


def test_the_soc_by_its_other_marks(tmp_path: Path) -> None:
    for name, content in (("sys/class/socinfo/board_id", "0301"),
                          ("sys/class/boardinfo/soc_name", "X5U")):  # fmt: skip
        root = make(tmp_path / name.replace("/", "_"), {name: content})
        assert read_platform(root).soc == "rdkx5"
    status = "Package: a\nVersion: 1\n\nPackage: hobot-dnn\nStatus: ok\nVersion: 2.5.1-2024\n\n"
    root = make(tmp_path / "dpkg", {"proc/device-tree/model": "D-Robotics RDK X5\0",
                                    "var/lib/dpkg/status": status})  # fmt: skip
    assert read_platform(root).runtime == "2.5.1-2024"
    root = make(tmp_path / "s", {"proc/device-tree/compatible": "khadas,edge2\0rockchip,rk3588s\0"})
    assert read_platform(root).soc == "rk3588"


def test_a_camera_is_named_by_what_it_is(tmp_path: Path, command: Npud) -> None:
    root = make(
        tmp_path, ROCK_5B | {"dev/video21": "", "sys/class/video4linux/video21/name": "HD Webcam"}
    )
    (root / "dev/v4l/by-id").mkdir(parents=True)
    (root / "dev/v4l/by-id/usb-HD_Webcam-video-index0").symlink_to("../../video21")
    found = examine(root)
    assert "/dev/v4l/by-id/usb-HD_Webcam-video-index0" in found["video21"].remedy
    assert found["video11"].remedy == ""
    code, out, _ = command("doctor", "--root", root)
    assert code == 0
    assert "by-id/usb-HD_Webcam-video-index0" in out.replace("\n", "").replace(" ", "")
