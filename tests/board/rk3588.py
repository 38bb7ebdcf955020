"""The emulated board as an RK3588: Rockchip's real binding over a stand-in for librknnrt.

The tensors it serves are the vendor's own simulation of a real model where the shared folder has
them, and those of the bundled model everywhere.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import npud
from npud import DetectionsMessage
from tests.board.build_native import GCC
from tests.board.machine import Board
from tests.board.overlay import overlay
from tests.board.recording import record_and_replay
from tests.board.requirements import run
from tests.board.rk3588_cases import Case, make_cases

HERE = Path(__file__).resolve().parent
PYTEST = ("-m", "pytest", "-o", "timeout=120", "-p", "no:cacheprovider")
LIBRARY = "usr/lib/librknnrt.so"
FACE = {
    "proc/device-tree/model": b"Radxa ROCK 5B\0",
    "proc/device-tree/compatible": b"radxa,rock-5b\0rockchip,rk3588\0",
    "dev/dri/renderD129": b"",  # rknn-toolkit-lite2 looks for it in a container
    ".dockerenv": b"",
}
# a face without something -> what npud says of rknn-toolkit-lite2 then
REFUSALS = {
    "dev/dri/renderD129": "expected /dev/dri/renderD129 and /proc/device-tree/compatible in this "
    "container (/.dockerenv), got none; remedy: docker run -v for both, or use backend librknnrt",
    "proc/device-tree/compatible": "expected an RK356x, RK3576 or RK3588, got an unknown chip in "
    "/proc/device-tree/compatible",
    LIBRARY: "expected /usr/lib/librknnrt.so, got none; remedy: install librknnrt.so of the version",
}
OPEN = """
import sys, pathlib
from runtime.backends import open_backend
from runtime.backends.base import BackendOptions
try:
    open_backend("rknnlite", pathlib.Path(sys.argv[1]), BackendOptions(version_check="warn"))
except Exception as error:
    print("SAID", type(error).__name__, error)
"""
MESSAGES = 16


@dataclass
class Part:
    """What one part of the run showed."""

    name: str
    text: str = ""
    output: str = ""
    ok: bool = False


def rk3588_board(board: Board, folder: Path, without: str = "") -> Board:
    """A board of its own in `folder`: the same system with an RK3588's device tree and library."""
    folder.mkdir(parents=True)
    library = folder / "librknnrt.so"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    source = HERE / "stub_rknnrt.c"
    run([GCC, *flags, "-fvisibility=hidden", "-o", str(library), str(source), "-lpthread"])
    files: dict[str, bytes | Path] = {**FACE, LIBRARY: library}
    files.pop(without, None)
    if without == "proc/device-tree/compatible":
        files[without] = b"acme,board\0acme,chip\0"
    return overlay(board, folder, files)


def run_rk3588(board: Board, tree: Path) -> list[Part]:
    """All that is shown on the emulated RK3588; `tree` is the copy with the board's extension."""
    folder = tree / "rk3588"
    folder.mkdir()
    cases = make_cases(folder)
    rk3588 = rk3588_board(board, folder / "board")
    parts = [Part("rk3588: backends, faults"), Part("rk3588: rknn-toolkit-lite2's refusals")]
    daemons = [Part("rk3588: npud run, librknnrt"), Part("rk3588: npud run, rknnlite")]
    tests = threading.Thread(target=_tests, args=(rk3588, tree, folder, parts[0]))
    tests.start()
    for daemon in daemons:
        _daemon(rk3588, tree, folder, cases, daemon)
    _refusals(board, tree, folder, cases, parts[1])
    recordings = [_recording(rk3588, tree, folder, name, case) for name, case in cases.items()]
    tests.join()
    return [*parts, *daemons, *recordings]


def _tests(rk3588: Board, tree: Path, folder: Path, part: Part) -> None:
    arguments = [*PYTEST, "tests/backends", "-k", "not hobot and not onnx"]
    process = rk3588.popen(arguments, tree, extra={"NPUD_RK3588": str(folder)})
    part.output, _ = process.communicate()
    part.ok = process.returncode == 0
    part.text = (part.output.strip().splitlines() or ["no output"])[-1]


def _refusals(
    board: Board, tree: Path, folder: Path, cases: Mapping[str, Case], part: Part
) -> None:
    part.ok = True
    for number, (without, expected) in enumerate(REFUSALS.items()):
        other = rk3588_board(board, folder / f"without{number}", without)
        process = other.popen(["-c", OPEN, str(cases["street"].model)], tree)
        said, _ = process.communicate()
        part.output += f"without {without}: {said}"
        part.ok &= f"SAID BackendUnavailable backend rknnlite: {expected}" in said
    part.text = f"{len(REFUSALS)} explained" if part.ok else "not explained"


def _daemon(rk3588: Board, tree: Path, folder: Path, cases: Mapping[str, Case], part: Part) -> None:
    """`npud run` with three contexts on the board, a subscriber here; one run fails on the way."""
    case = cases.get("bus", cases["street"])
    backend = part.name.rpartition(" ")[2]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    pictures = folder / f"pictures-{backend}"
    pictures.mkdir()
    for picture in case.pictures:
        (pictures / picture.name).symlink_to(picture)
    config = folder / f"{backend}.toml"
    config.write_text(
        f'[model]\npath = "{case.model}"\n[backend]\nname = "{backend}"\ncontexts = 3\n'
        f'deadline_ms = 20000\nload_deadline_s = 60\nversion_check = "warn"\n'
        f'[camera.front]\nurl = "{pictures}"\nloop = true\n[publish]\nendpoint = "{endpoint}"\n'
    )
    extra = {"STUB_TENSORS": str(case.tensors), "STUB_FAULT": "rknn_run=-2@9"}
    process = rk3588.popen(["-m", "runtime.cli", "run", "--config", str(config)], tree, extra=extra)
    counts = {len(case.detections(number).boxes) for number in range(len(case.pictures))}
    try:
        _subscribe(endpoint, process, counts, part)
    except Exception as error:
        part.text = f"{type(error).__name__}: {error}"
    part.output += _stop(process)
    failed = "rknn_run returned -2 (timed out)" in part.output
    part.text += ", one failed run reported" if failed else ", NO failed run reported"
    part.ok = part.ok and failed and process.returncode == 0 and "3 contexts" in part.output


def _recording(rk3588: Board, tree: Path, folder: Path, name: str, case: Case) -> Part:
    """`npud record` on the board, `npud replay` here."""
    part = Part(f"rk3588: npud record, {name}")
    part.ok, part.text, part.output = record_and_replay(
        rk3588,
        tree,
        folder / f"recorded-{name}",
        "librknnrt",
        case.model,
        case.pictures,
        {"STUB_TENSORS": str(case.tensors)},
    )
    return part


def _subscribe(endpoint: str, process: subprocess.Popen[str], counts: set[int], part: Part) -> None:
    found: list[DetectionsMessage] = []
    end = time.monotonic() + 90
    with npud.subscribe(endpoint, heartbeat_timeout_s=90) as subscriber:
        while time.monotonic() < end and len(found) < MESSAGES and process.poll() is None:
            if message := subscriber.recv(timeout_s=1):
                found.append(message)
    got = {len(message.boxes) for message in found}
    part.ok = len(found) == MESSAGES and bool(got) and got <= counts
    each = "/".join(map(str, sorted(got)))
    part.text = f"{len(found)} messages received on the host, {each} detections each"


def _stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.communicate(timeout=20)[0]
    process.kill()
    return process.communicate()[0] + "\nnot ended within 20 s"
