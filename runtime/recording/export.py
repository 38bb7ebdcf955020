"""A recording as an .npz for backend `replay`: a board's real outputs for tests anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from npud.errors import NpudError, RecordError
from runtime.models import recording
from runtime.models.manifest import Manifest, beside
from runtime.models.recording import MAX_BYTES
from runtime.recording.reader import Reader
from runtime.recording.setup import Setup


def export(reader: Reader, path: Path) -> str:
    """Write the outputs of all frames, and a manifest with which they decode; what was written.

    Raises RecordError where the frames come of several models, or are too many.
    """
    setup: Setup | None = None
    frames, size = [], 0
    for recorded in reader:
        setup = setup or recorded.setup
        if recorded.setup.id != setup.id:
            raise RecordError(f"{reader.path}: expected one model, got several")
        size += sum(map(len, recorded.tensors.tensors))
        if size > MAX_BYTES:
            raise RecordError(f"{reader.path}: more than {MAX_BYTES >> 30} GiB of outputs")
        frames.append(recorded.tensors.arrays(setup.specs))
    if setup is None:
        raise RecordError(f"{reader.path}: no frame with raw outputs in it")
    manifest = beside(path)
    if path.suffix != ".npz":
        raise RecordError(f"{path}: expected a name that ends with .npz")
    try:
        recording.save(path, [t.spec() for t in setup.inputs], setup.specs, frames)
        manifest.write_text(_toml(setup))
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror}") from None
    return f"{path}  {len(frames)} frames  {size / 1e6:.1f} MB of outputs; manifest {manifest}"


def _toml(setup: Setup) -> str:
    """The recorded manifest, with labels and what was recognised stated."""
    try:
        manifest = msgspec.json.decode(setup.manifest_json, type=Manifest)
    except (msgspec.MsgspecError, NpudError) as error:
        raise RecordError(f"its manifest cannot be used: {error}") from None
    known: dict[str, Any] = {"head": setup.plan.head, "activation": setup.plan.activation}
    known |= {"labels": setup.labels} if setup.labels else {}
    stated = msgspec.structs.replace(manifest, nms=setup.options.nms, golden=None, **known)
    plain = msgspec.to_builtins(stated)
    tables = {"": plain, "[input]": plain["input"]}  # how it was converted is not asked for again
    lines = []
    for title, table in tables.items():
        kept = {k: v for k, v in table.items() if v is not None and not isinstance(v, dict)}
        lines += [title, *(f"{key} = {_value(value)}" for key, value in kept.items())]
    return "\n".join(lines[1:]) + "\n"


def _value(value: object) -> str:
    """A value as TOML: strings, numbers, booleans and lists are written as in JSON."""
    return msgspec.json.encode(value).decode()
