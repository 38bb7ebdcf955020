"""FileSink: a recording in one file, bounded in size and time."""

from __future__ import annotations

from pathlib import Path

from runtime.recording.mcap_file import McapFile, Part
from runtime.recording.setup import Setup


class FileSink:
    """Writes one file.  `reason` says why it is full, or is ""."""

    def __init__(
        self, path: Path, max_bytes: int, duration_s: float = 0.0, *, overwrite: bool = False
    ) -> None:
        self.file = McapFile(path, max_bytes, overwrite=overwrite)
        self._max, self._duration_ns = max_bytes, round(duration_s * 1e9)
        self._first_ns = 0
        self.reason = ""

    def take(self, setup: Setup, parts: list[Part]) -> bool:
        """Write a frame, unless it is one too many."""
        at = parts[-1].captured_ns
        self._first_ns = self._first_ns or at
        if self._duration_ns and at - self._first_ns >= self._duration_ns:
            self.reason = f"{self._duration_ns / 1e9:g} s are recorded"
        elif not self.file.add(setup, parts):
            self.reason = f"one more frame would make it larger than {self._max / 1e6:g} MB"
        return not self.reason

    def close(self) -> None:
        """Finish the file."""
        self.file.close()
