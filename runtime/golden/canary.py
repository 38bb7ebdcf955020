"""The canary: the golden picture through the real backend, when a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from npud.errors import ModelError
from runtime import config
from runtime.detector import Detector, ModelFiles
from runtime.golden import reference
from runtime.golden.judge import judge
from runtime.golden.reference import Reference
from runtime.golden.verdict import Outcome


def sample_of(files: ModelFiles) -> Reference | None:
    """The golden sample of a model's manifest, if it has one; raises ModelError."""
    golden = files.manifest.golden
    if golden is None:
        return None
    return reference.load(files.folder / golden.image, files.folder / golden.reference)


def watch(detectors: Sequence[Detector], settings: config.Model) -> Outcome:
    """Judge loaded detectors by their golden sample, as `canary` in [model] says.

    What speaks against one is its doubt() from then on, or with "refuse" a ModelError.  Returns the
    worst verdict.  Raises ModelError for a sample that cannot be read, InferenceError where the
    backend fails.
    """
    files = detectors[0].files
    limits = files.manifest.golden
    sample = sample_of(files) if settings.canary != "off" else None
    if sample is None or limits is None:
        return Outcome()
    worst = Outcome()
    for detector in detectors:
        verdict = judge(detector, sample, limits)
        outcome = Outcome(str(verdict), verdict.healthy)
        if settings.canary == "refuse" and not verdict.healthy:
            raise ModelError(f"model {files.path}: {verdict}")
        detector.doubts = outcome.doubt
        worst = outcome if worst.healthy else worst
    return worst
