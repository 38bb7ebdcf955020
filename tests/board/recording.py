"""`npud record` on an emulated board, `npud replay --check` here: the same bytes on both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.board.machine import Board

KERNELS = ("auto", "scalar")  # the board's are NEON's
CONFIG = """
[model]
path = "{model}"
[backend]
name = "{backend}"
contexts = 2
deadline_ms = 60000
load_deadline_s = 120
version_check = "warn"
isolation = "process"
[camera.front]
url = "{pictures}"
"""


def record_and_replay(
    board: Board,
    tree: Path,
    folder: Path,
    backend: str,
    model: Path,
    pictures: tuple[Path, ...],
    extra: Mapping[str, str],
) -> tuple[bool, str, str]:
    """Record pictures on the board in worker processes; (ok, what was shown, all output)."""
    folder.mkdir()
    for picture in pictures:
        (folder / picture.name).symlink_to(picture)
    config, out = folder.with_suffix(".toml"), folder.with_suffix(".mcap")
    config.write_text(CONFIG.format(model=model, backend=backend, pictures=folder))
    command = ["record", "--config", str(config), "--every-frame", "--out", str(out)]
    process = board.popen(["-m", "runtime.cli", *command], tree, extra=extra)
    output, _ = process.communicate()
    if process.returncode:
        return False, "npud record failed", output
    counts: list[int] = []
    for kernels in KERNELS:
        done = subprocess.run(
            [sys.executable, "-m", "runtime.cli", "replay", str(out), "--check", "--json"],
            env={**os.environ, "NPUD_KERNELS": kernels},
            capture_output=True,
            text=True,
            check=False,
        )
        output += done.stderr
        if done.returncode:
            return False, f"replayed to other bytes ({kernels})", output
        counts = [len(json.loads(line)["detections"]) for line in done.stdout.splitlines()]
    each = "/".join(map(str, counts))
    ok = len(counts) == len(pictures) and all(counts)
    size = out.stat().st_size / 1e6
    kernels = ", ".join(KERNELS)
    text = f"{len(counts)} frames ({each} detections, {size:.1f} MB) recorded on the board "
    return ok, f"{text}replay here to the same bytes (kernels {kernels})", output
