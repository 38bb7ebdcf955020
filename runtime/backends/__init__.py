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
    """Where a backend is ("module:Class"), which model files it runs, by suffix, and how often.

    contexts: how many keep the board busy, 0 for one per NPU core; per_process: how many of them
    can run at the same time in one process, 0 for all.
    """

    target: str
    suffixes: frozenset[str] = frozenset()
    contexts: int = 1
    per_process: int = 0

    def load(self) -> type[Backend]:
        """Import it; raises BackendUnavailable where its binding cannot be imported."""
        backend: type[Backend] = load(self.target, "backend")
        return backend


# "auto" takes the first one that runs the file and is available.
BACKENDS: dict[str, Entry] = {
    "onnx": Entry("runtime.backends.onnx:OnnxBackend", frozenset({".onnx"})),
    "librknnrt": Entry("runtime.backends.librknnrt:LibrknnrtBackend", frozenset({".rknn"}), 0),
    "rknnlite": Entry("runtime.backends.rknnlite:RknnliteBackend", frozenset({".rknn"}), 0),
    # The binding holds the GIL: of two processes one prepares while the BPU works for the other.
    "hobot": Entry("runtime.backends.hobot:HobotBackend", frozenset({".bin"}), 2, 1),
    "replay": Entry("runtime.backends.replay:ReplayBackend", frozenset({".npz"})),
    # A PC's simulators of board models, which "auto" never takes.
    "rknn-sim": Entry("runtime.backends.rknn_sim:RknnSimBackend"),
    "hobot-sim": Entry("runtime.backends.hobot_sim:HobotSimBackend"),
}

SIMULATORS = frozenset({"rknn-sim", "hobot-sim"})  # of board models: processes of their own


def open_backend(name: str, path: Path, options: BackendOptions) -> Backend:
    """Load a model with the named backend, or with the first that can run the file ("auto")."""
    fitting = entries(name, path)
    options.simulate.check()
    simulated = BACKENDS["onnx"], BACKENDS["replay"]  # recordings stay what they are
    if options.simulate.active and not any(entry in fitting for entry in simulated):
        raise ConfigError("backend.simulate: expected backend onnx and an .onnx model")
    backend = fitting[0].load() if name != "auto" else _first_available(fitting, path)
    return backend(path, options)


def name_of(backend: Backend) -> str:
    """The name that stands for a backend in the configuration."""
    target = f"{type(backend).__module__}:{type(backend).__qualname__}"
    return next((name for name, entry in BACKENDS.items() if entry.target == target), target)


def entries(name: str, path: Path) -> list[Entry]:
    """What the name stands for: one backend, or all that run such a file ("auto"), best first."""
    if ":" in name:  # a backend of the user's own
        return [Entry(name)]
    if name != "auto":
        if name not in BACKENDS:
            known = nearest(name, ["auto", *BACKENDS])
            raise ConfigError(f"backend.name: unknown backend {name}{known}")
        return [BACKENDS[name]]
    fitting = [entry for entry in BACKENDS.values() if path.suffix.lower() in entry.suffixes]
    if not fitting:
        known = ", ".join(sorted({s for entry in BACKENDS.values() for s in entry.suffixes}))
        raise BackendUnavailable(
            f"model {path}: no backend runs {path.suffix} files; known: {known}"
        )
    return fitting


def _first_available(fitting: list[Entry], path: Path) -> type[Backend]:
    reasons = []
    for entry in fitting:
        try:
            backend = entry.load()
            backend.probe()
        except BackendUnavailable as error:
            reasons.append(str(error))
        else:
            return backend
    if path.with_suffix(".conversion").is_dir():  # npud convert made it here (docs/convert.md)
        simulator = "rknn-sim" if path.suffix.lower() == ".rknn" else "hobot-sim"
        reasons.append(f"on a PC, use backend {simulator}")
    raise BackendUnavailable("; or ".join(reasons))
