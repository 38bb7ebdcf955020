"""What the soak runs: models, keys, cameras, a configuration, the daemon, and its subscribers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2

from benchmarks.soak.camera import HttpCamera
from runtime import bundled, testing
from runtime.control.client import ask
from runtime.scenes import Street

ANSWER_S = 120.0
MODELS = ("one", "two")
RUN = [sys.executable, "-m", "runtime.cli", "run", "-c"]

CONFIG = """
[model]
path = "{model}"
score_threshold = {threshold}
[backend]
name = "runtime.testing:FaultyBackend"
isolation = "process"
contexts = 2
contexts_per_process = 1
threads = 1
deadline_ms = 3000
load_deadline_s = 30
max_memory_mib = 320
[publish]
frames = true
send_buffer = 400
{publish}
[control]
socket = "{folder}/control"
[log]
per_minute = 1000
[record]
enabled = true
seconds = 5
max_mib = 16
keep = 3
frames = "none"
folder = "{folder}/recordings"
"""


def pictures(seed: int, count: int, size: tuple[int, int]) -> list[Any]:
    """BGR pictures of a generated street, in order."""
    street = Street(seed, size)
    return [street.frame(3 * number)[0] for number in range(count)]


class Files:
    """Everything on disk: two models alike, keys, a video, pictures; removed by the caller."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = {name: folder / f"models/{name}.onnx" for name in MODELS}
        shutil.copytree(bundled.MODEL.parent, folder / "models")
        for path in self.models.values():
            shutil.copy(bundled.MODEL, path)
            shutil.copy(bundled.MODEL.with_suffix(".toml"), path.with_suffix(".toml"))
        self.keys = folder / "keys"
        for place, name in ((self.keys, "friend"), (self.keys / "strangers", "stranger")):
            command = [sys.executable, "-m", "runtime.cli", "keys", str(place), "--client", name]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        self.video, self.images = folder / "video.avi", folder / "images"
        codec = cv2.VideoWriter_fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(self.video), codec, 30, (640, 480))
        for picture in pictures(4, 90, (640, 480)):
            writer.write(picture)
        writer.release()
        self.images.mkdir()
        for number, picture in enumerate(pictures(5, 30, (800, 600))):
            width = 480 + 32 * (number % 11)  # of several sizes
            picture = cv2.resize(picture, (width, width * 3 // 4))
            cv2.imwrite(str(self.images / f"{number:02}.jpg"), picture)


class Rig:
    """A daemon with its configuration, over TCP with keys or over a Unix socket."""

    def __init__(self, files: Files, name: str, *, tcp: bool) -> None:
        self.files, self.tcp = files, tcp
        self.folder = files.folder / name
        self.folder.mkdir()
        self.order, self.control = self.folder / "order", self.folder / "control"
        self.config, self.log_file = self.folder / "config.toml", self.folder / "log"
        self.model, self.threshold = MODELS[0], 0.25
        self.cameras: dict[str, dict[str, Any]] = {}
        self.endpoint = f"tcp://127.0.0.1:{_free_port()}" if tcp else f"ipc://{self.folder}/e"
        self.daemon: subprocess.Popen[bytes] | None = None

    def add_cameras(self, http: HttpCamera) -> None:
        """The four of the soak."""
        street = {"url": "synthetic:street?seed=3&size=320x240&fps=30"}
        video = {"url": str(self.files.video), "loop": True}
        images = {"url": str(self.files.images), "loop": True, "fps": 25.0}
        door = {"url": http.url, "reconnect_max_s": 2.0}
        self.cameras = {"street": street, "video": video, "images": images, "http": door}

    def text(self) -> str:
        """The configuration as TOML."""
        keys = self.files.keys
        publish = f'endpoint = "{self.endpoint}"\n'
        if self.tcp:
            publish += f'key = "{keys}/server.key_secret"\nclients = "{keys}/clients"\n'
        text = CONFIG.format(
            model=self.files.models[self.model],
            threshold=self.threshold,
            publish=publish,
            folder=self.folder,
        )
        for name, table in self.cameras.items():
            rows = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
            text += f"[camera.{name}]\n{rows}\n"
        return text

    def write(self, text: str = "") -> None:
        """Write the configuration, or something else in its place."""
        self.config.write_text(text or self.text())

    def start(self) -> None:
        """Start the daemon."""
        self.write()
        with self.log_file.open("a") as log:
            self.daemon = subprocess.Popen(
                [*RUN, str(self.config)],
                stderr=log,
                env=os.environ | {testing.FILE: str(self.order)},
            )

    @property
    def pid(self) -> int:
        """The daemon's."""
        assert self.daemon
        return self.daemon.pid

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Ask the daemon over its control socket; raises ControlError."""
        return ask(self.control, command, ANSWER_S, **arguments)

    def workers(self) -> list[int]:
        """Process ids of the workers that are ready, one 0 for each that is not."""
        return [worker["pid"] for worker in self.ask("status")["workers"]]

    def log(self) -> str:
        """What the daemon and its workers have said."""
        return self.log_file.read_text(errors="replace")

    def stop(self, timeout_s: float) -> tuple[int, float]:
        """SIGTERM; (exit code, seconds).  Raises TimeoutExpired."""
        assert self.daemon
        begun = time.monotonic()
        self.daemon.terminate()
        return self.daemon.wait(timeout_s), time.monotonic() - begun

    def kill(self) -> None:
        """SIGKILL to the daemon."""
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()

    def processes(self) -> list[int]:
        """All processes that were started for it, by their environment: workers too."""
        mark = f"{testing.FILE}={self.order}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found

    def remains(self) -> list[str]:
        """Files beside its own that are left: sockets, locks, unfinished recordings."""
        own = {"config.toml", "log", "recordings", "order", "order.part"}
        left = [path.name for path in self.folder.iterdir() if path.name not in own]
        return left + [path.name for path in self.folder.glob("recordings/*.part")]


class Listener:
    """A subscriber process; `state` is the last that it said."""

    def __init__(self, kind: str, rig: Rig) -> None:
        keys = [str(rig.files.keys)] if rig.tcp else []
        self.state: dict[str, Any] = {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak.listener", kind, rig.endpoint, *keys],
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def pause(self, paused: bool) -> None:
        """Stop the process, or let it go on."""
        self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def close(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.state = json.loads(line)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
