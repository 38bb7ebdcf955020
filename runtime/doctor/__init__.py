"""What of this machine is ready for npud and what is not: `npud doctor`.

Checks read files below a root, so that they run on trees of other machines too; only what needs a
live machine (trial imports, device queries, sockets) is left out there.  Nothing is changed and no
vendor library is loaded into this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.models.finding import Finding
from runtime.platform_info import Platform, read_platform


@dataclass(frozen=True)
class Machine:
    """What the checks are given: where to look, which board it is, and what of the config counts.

    `endpoint` is where npud would publish, `model` the configured model file, if any.
    """

    root: Path
    platform: Platform
    endpoint: str
    model: Path | None = None

    @property
    def live(self) -> bool:
        """Whether this is the machine we run on, and not a tree of files."""
        return self.root == Path("/")

    def at(self, path: str) -> Path:
        """A path of that machine ("dev/video0") here."""
        return self.root / path


Check = Callable[[Machine], Iterator[Finding]]


def sections() -> dict[str, tuple[Check, ...]]:
    """Title -> its checks, in the order they are shown."""
    from runtime.doctor import board, cameras, computer, software

    return {
        "board": (board.chip, board.device_nodes, board.driver, board.libraries),
        "software": (software.versions, software.numpy_abi, software.bindings),
        "computer": (computer.memory, computer.clocks, computer.temperature),
        "cameras": (cameras.cameras,),
        "daemon": (software.endpoint, software.model),
    }


def examine(machine: Machine) -> dict[str, list[Finding]]:
    """All findings by section."""
    return {
        title: [finding for check in checks for finding in check(machine)]
        for title, checks in sections().items()
    }


def machine_at(root: Path, endpoint: str, model: Path | None = None) -> Machine:
    """The machine whose file system is at `root`."""
    return Machine(root, read_platform(root), endpoint, model)
