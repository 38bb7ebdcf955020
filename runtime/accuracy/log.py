"""Log: results of an evaluation, written picture by picture, so that an interrupted one goes on.

A .jsonl file: the first line says what was run on what, each other line is a record as `npud detect
--json` prints it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from npud.errors import ConfigError
from runtime.accuracy.records import Record, Result, result_of

VERSION = 1
Header = dict[str, Any]


class Log:
    """Appends records to a file; `done` are those it has, by the picture's path.

    With `resume`, those of an earlier run with the same header are kept; without, the file is
    written anew.  Raises ConfigError for a file that cannot be written, or is another run's.
    """

    def __init__(self, path: Path, header: Header, resume: bool = False) -> None:
        self.path = path
        self.done: dict[str, Result] = {}
        header = {"version": VERSION, **header}
        whole = self._read(header) if resume and path.exists() else b""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if whole:
                os.truncate(path, len(whole))
            else:
                path.write_bytes(b"")
        except OSError as error:
            raise ConfigError(f"{path}: cannot write results: {error.strerror or error}") from None
        if not whole:
            self._write(header)

    def add(self, record: Record) -> Result:
        """Append one picture's record; it is in the file when this returns."""
        self._write(record)
        result = self.done[record["image"]] = result_of(record)
        return result

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def _read(self, header: Header) -> bytes:
        """Read what is there; return its whole lines."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise ConfigError(f"{self.path}: {error.strerror or error}") from None
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # killed while it wrote
        if not lines:
            return b""
        self._check(lines[0], header)
        for number, line in enumerate(lines[1:], 2):
            try:
                record = msgspec.json.decode(line)
                self.done[record["image"]] = result_of(record)
            except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
                where = f"{self.path}:{number}"
                raise ConfigError(f"{where}: expected a record of results, got: {error}") from None
        return b"".join(lines)

    def _check(self, line: bytes, header: Header) -> None:
        try:
            earlier = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            raise ConfigError(f"{self.path}: expected results of npud eval to resume") from None
        ours = msgspec.json.decode(msgspec.json.encode(header))
        for key in sorted({*ours, *earlier}):
            if ours.get(key) != earlier.get(key):
                raise ConfigError(
                    f"{self.path}: expected results with {key} {ours.get(key)!r} to resume, got "
                    f"{earlier.get(key)!r}; without --resume they are replaced"
                )
