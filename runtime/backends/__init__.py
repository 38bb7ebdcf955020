"""Backends by name, each in its own file, imported only when it is used."""

from __future__ import annotations

from pathlib import Path

from npud.errors import BackendUnavailable, ConfigError
from runtime.backends.base import Backend, BackendOptions
from runtime.lazy import load
from runtime.validate import nearest

# name -> ("module:Class", suffixes of the model files it runs)
BACKENDS: dict[str, tuple[str, frozenset[str]]] = {
    "onnx": ("runtime.backends.onnx:OnnxBackend", frozenset({".onnx"})),
}


def open_backend(name: str, path: Path, options: BackendOptions) -> Backend:
    """Load a model with the named backend, or with the first that runs such files ("auto")."""
    if name == "auto":
        fitting = [n for n, (_, suffixes) in BACKENDS.items() if path.suffix.lower() in suffixes]
        if not fitting:
            known = ", ".join(sorted(s for _, suffixes in BACKENDS.values() for s in suffixes))
            raise BackendUnavailable(
                f"model {path}: no backend runs {path.suffix} files; known: {known}"
            )
        name = fitting[0]
    if name not in BACKENDS:
        raise ConfigError(
            f"backend.name: unknown backend {name}{nearest(name, ['auto', *BACKENDS])}"
        )
    backend: Backend = load(BACKENDS[name][0], "backend")(path, options)
    return backend
