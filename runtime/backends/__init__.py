"""Backends by name, each in its own file, imported only when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from npud.errors import BackendUnavailable, ConfigError
from runtime.backends.base import Backend, BackendOptions
from runtime.lazy import load
from runtime.validate import nearest


@dataclass(frozen=True)
class Entry:
    """Where a backend is ("module:Class") and which model files it runs, by suffix."""

    target: str
    suffixes: frozenset[str]

    def load(self) -> type[Backend]:
        """Import it; raises BackendUnavailable where its binding cannot be imported."""
        backend: type[Backend] = load(self.target, "backend")
        return backend


# "auto" takes the first one that runs the file and is available.
BACKENDS: dict[str, Entry] = {
    "onnx": Entry("runtime.backends.onnx:OnnxBackend", frozenset({".onnx"})),
    "librknnrt": Entry("runtime.backends.librknnrt:LibrknnrtBackend", frozenset({".rknn"})),
    "rknnlite": Entry("runtime.backends.rknnlite:RknnliteBackend", frozenset({".rknn"})),
    "hobot": Entry("runtime.backends.hobot:HobotBackend", frozenset({".bin"})),
    "replay": Entry("runtime.backends.replay:ReplayBackend", frozenset({".npz"})),
}


def open_backend(name: str, path: Path, options: BackendOptions) -> Backend:
    """Load a model with the named backend, or with the first that can run the file ("auto")."""
    if name == "auto":
        return _choose(path)(path, options)
    if ":" in name:  # a backend of the user's own
        return Entry(name, frozenset()).load()(path, options)
    if name not in BACKENDS:
        raise ConfigError(
            f"backend.name: unknown backend {name}{nearest(name, ['auto', *BACKENDS])}"
        )
    return BACKENDS[name].load()(path, options)


def _choose(path: Path) -> type[Backend]:
    fitting = [entry for entry in BACKENDS.values() if path.suffix.lower() in entry.suffixes]
    if not fitting:
        known = ", ".join(sorted({s for entry in BACKENDS.values() for s in entry.suffixes}))
        raise BackendUnavailable(
            f"model {path}: no backend runs {path.suffix} files; known: {known}"
        )
    reasons = []
    for entry in fitting:
        try:
            backend = entry.load()
            backend.probe()
        except BackendUnavailable as error:
            reasons.append(str(error))
        else:
            return backend
    raise BackendUnavailable("; or ".join(reasons))
