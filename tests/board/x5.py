"""The emulated board as an RDK X5: D-Robotics' real binding over a stand-in for libdnn.

The tensors it serves are the vendor's own simulation of a real model where the shared folder has
them, and those of the bundled model everywhere.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import npud
from runtime import bundled
from runtime.backends.base import BackendOptions
from runtime.backends.onnx import OnnxBackend
from runtime.frame import Frame
from runtime.preprocess import InputSpec, Preprocessor
from runtime.scenes import Street
from tests.board.build_native import GCC
from tests.board.dnn_tensors import write_tensors
from tests.board.machine import DEFAULT_CPU, Board
from tests.board.overlay import overlay
from tests.board.recording import record_and_replay
from tests.board.requirements import PYTHON, run
from tests.models import build

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("NPUD_SHARED", HERE.parents[2] / "shared"))
SCENE = (2, 40)  # seed and frame of the generated street, which shows several things
RDK = {
    "proc/device-tree/model": b"D-Robotics RDK X5 V1.0\0",
    "sys/class/socinfo/board_id": b"302\n",
}
CONFIG = """
[model]
path = "{model}"
[backend]
name = "hobot"
contexts = 2
contexts_per_process = 1
deadline_ms = 20000
[camera.bus]
url = "{picture}"
loop = true
[publish]
endpoint = "{endpoint}"
"""
DELAY_MS = 1000  # of an inference: one process, which holds its GIL, gives 1 a second
MESSAGES = 14
RECORDED = ("street", "integers", "int8")


@dataclass
class X5Result:
    """What one part of the run showed."""

    name: str
    text: str = ""
    output: str = ""
    ok: bool = False


@dataclass
class Case:
    """A model file with the tensors that the stand-in serves for it."""

    model: Path
    tensors: Path
    picture: Path
    expected: dict[str, Any] = field(default_factory=dict)


class X5Board(Board):
    """A board whose Python can start itself again, as the daemon's workers need: by a script."""

    def command(self, arguments: Sequence[str], cpu: str, plugin: str | None = None) -> list[str]:
        """The host's command line that runs the board's Python."""
        return [str(self.folder / "python"), *map(str, arguments)]


def x5_board(board: Board, folder: Path) -> X5Board:
    """A board of its own in `folder`: the same system, with an RDK's device tree and libraries."""
    built = folder.with_name("libraries")
    built.mkdir()
    face: dict[str, bytes | Path] = dict(RDK)
    face |= _compile_libraries(board, built)
    x5 = X5Board(overlay(board, folder, face).folder)
    script, root = folder / "python", x5.root
    emulator = f'qemu-aarch64 -cpu {DEFAULT_CPU} -0 "$0" -L {root} -E PYTHONHOME={root}/usr'
    script.write_text(f'#!/bin/sh\nexec {emulator} {root}/usr/bin/python{PYTHON} "$@"\n')
    script.chmod(0o755)
    return x5


def _compile_libraries(board: Board, folder: Path) -> dict[str, Path]:
    """libdnn, and for each of the other libraries that the binding names an empty one."""
    shared = [GCC, "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]
    script = f"-Wl,-soname,libdnn.so,--version-script={HERE / 'stub_dnn.map'}"
    dnn, empty, source = (folder / name for name in ("libdnn.so", "libempty.so", "empty.c"))
    run([*shared, script, "-o", str(dnn), str(HERE / "stub_dnn.c")])
    source.write_text("int empty;\n")
    run([*shared, "-o", str(empty), str(source)])
    found = {"usr/hobot/lib/libdnn.so": dnn, "usr/lib/libdnn.so": dnn}
    binding = board.site / "hobot_dnn_rdkx5/pyeasy_dnn.so"
    for line in run(["readelf", "-d", str(binding)]).splitlines():
        name = line.partition("[")[2].partition("]")[0]
        if "(NEEDED)" in line and name != dnn.name and not list(board.root.rglob(name)):
            found[f"usr/lib/{name}"] = empty
    return found


def bundled_case(folder: Path, *, integers: bool = False) -> Case:
    """The bundled model as if hb_mapper had converted it, on a picture of the generated street."""
    seed, number = SCENE
    pixels, _ = Street(seed, (640, 480)).frame(number)
    picture = folder / "street.png"
    cv2.imwrite(str(picture), pixels)
    backend = OnnxBackend(bundled.MODEL, BackendOptions())
    tensor, _ = Preprocessor(InputSpec((320, 320)))(Frame(pixels))
    planes = zip(backend.outputs, backend.infer([tensor]))
    found = {spec.name: np.ascontiguousarray(p.transpose(0, 2, 3, 1)) for spec, p in planes}
    scales: dict[str, list[float]] = {}
    if integers:
        found = {f"{k}/Conv_output_0_quantized": v for k, v in found.items()}
        scales = {name: [0.001] * array.shape[3] for name, array in found.items()}
        found = {name: np.rint(array / 0.001).astype(np.int32) for name, array in found.items()}
    stem = "integers" if integers else "street"
    shapes = [(name.partition("/")[0], array.shape) for name, array in found.items()]
    model = folder / f"{stem}.bin"
    model.write_bytes(build.bin_file(shapes, image=(1, 320, 320, 3), dequantize=not integers))
    manifest = bundled.MODEL.with_suffix(".toml").read_text()
    model.with_suffix(".toml").write_text(manifest.partition("[input]")[0])
    case = Case(
        model, write_tensors(folder / f"{stem}.tensors", (320, 320), found, scales), picture
    )
    np.savez(folder / f"{stem}.npz", **found)
    return case


def shared_cases(folder: Path) -> dict[str, Case]:
    """The real .bin files with what the vendor's bit-exact simulation returned for bus.jpg."""
    files, cases = SHARED / "models/bin", {}
    for name in ("float", "int8", "int8_calibrated_twice_scaled"):
        path = files / f"yolo26n_{name}_bus.npz"
        if path.is_file():
            tensors = write_tensors(folder / f"{name}.tensors", (640, 640), np.load(path))
            model = files / f"yolo26n_{name.replace('float', 'int8')}.bin"
            cases[name] = Case(model, tensors, SHARED / "data/bus.jpg")
    return cases


def run_x5(board: Board, tree: Path) -> list[X5Result]:
    """All that is shown on the emulated X5; `tree` is the copy with the board's extension."""
    folder = tree / "x5"
    folder.mkdir()
    x5 = x5_board(board, folder / "board")
    cases = {"street": bundled_case(folder), "integers": bundled_case(folder, integers=True)}
    cases |= shared_cases(folder)
    table = {n: [str(c.model), str(c.tensors), str(c.picture)] for n, c in cases.items()}
    (folder / "cases.json").write_text(json.dumps(table))
    recorded = [_recording(x5, tree, name, cases[name]) for name in RECORDED if name in cases]
    return [_backend_tests(x5, tree, folder), _daemon(x5, tree, cases), *recorded]


def _backend_tests(x5: Board, tree: Path, folder: Path) -> X5Result:
    result = X5Result("hobot")
    arguments = ["-m", "pytest", "-o", "timeout=60", "-p", "no:cacheprovider"]
    arguments += ["-p", "no:faulthandler"]  # crashes are part of it
    arguments += ["tests/board/on_x5.py", "tests/board/on_x5_faults.py", "tests/backends"]
    arguments += ["-k", "on_x5 or hobot"]
    process = x5.popen(arguments, tree, extra={"NPUD_X5": str(folder)})
    result.output, _ = process.communicate()
    result.ok = process.returncode == 0
    result.text = (result.output.strip().splitlines() or ["no output"])[-1]
    return result


def _daemon(x5: Board, tree: Path, cases: Mapping[str, Case]) -> X5Result:
    """`npud run` with two workers on the board, a subscriber here; an inference of each fails."""
    result = X5Result("hobot, npud run")
    case = cases.get("int8", cases["street"])
    endpoint, config = f"ipc://{tree}/x5/npud", tree / "x5/npud.toml"
    config.write_text(CONFIG.format(model=case.model, picture=case.picture, endpoint=endpoint))
    faults = f"hbDNNInfer=-6@3,delay={DELAY_MS}"
    extra = {"STUB_DNN_TENSORS": str(case.tensors), "STUB_DNN_FAULT": faults}
    process = x5.popen(["-m", "runtime.cli", "run", "--config", str(config)], tree, extra=extra)
    try:
        _subscribe(endpoint, process, result)
    except Exception as error:
        result.text = f"{type(error).__name__}: {error}"
    process.send_signal(signal.SIGTERM)
    try:
        result.output, _ = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        result.output, _ = process.communicate()
    lost = "pyeasy_dnn.forward failed: forward execution failed." in result.output
    result.text += ", failed inferences reported" if lost else ", failed inferences not reported"
    result.ok = result.ok and lost and process.returncode == 0
    return result


def _recording(x5: Board, tree: Path, name: str, case: Case) -> X5Result:
    """`npud record` on the board, `npud replay` here."""
    result = X5Result(f"hobot, npud record, {name}")
    result.ok, result.text, result.output = record_and_replay(
        x5,
        tree,
        tree / f"x5/recorded-{name}",
        "hobot",
        case.model,
        (case.picture,),
        {"STUB_DNN_TENSORS": str(case.tensors)},
    )
    return result


def _subscribe(
    endpoint: str, process: subprocess.Popen[str], result: X5Result, timeout_s: float = 60
) -> None:
    found, times, end = [], [], time.monotonic() + timeout_s
    with npud.subscribe(endpoint, heartbeat_timeout_s=timeout_s) as subscriber:
        while time.monotonic() < end and len(found) < MESSAGES and process.poll() is None:
            if message := subscriber.recv(timeout_s=1):
                found.append(message)
                times.append(message.published_ns)
    counts = {len(message.boxes) for message in found}
    fps = 0.0
    if len(found) == MESSAGES:  # after those that fail, and an even number: they come in pairs
        fps = 8 / (times[-1] - times[-9]) * 1e9
    result.ok = len(counts) == 1 and counts != {0} and fps > 1.15e3 / DELAY_MS
    each = "/".join(map(str, sorted(counts)))
    result.text = (
        f"{len(found)} messages received on the host, {each} detections each, {fps:.1f} a second "
        f"from two workers of {1000 / DELAY_MS:.0f} at most each"
    )
