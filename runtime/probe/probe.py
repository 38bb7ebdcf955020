"""Probe: one model, some pictures, and if there is one the answer; what is wrong, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npud.detections import Detections
from npud.errors import ModelError
from runtime import config, scenes
from runtime.backends import open_backend
from runtime.detector import (
    CANARY,
    CANARY_FRAME,
    Detector,
    ModelFiles,
    backend_options,
    input_spec,
    read_model,
)
from runtime.frame import Frame
from runtime.golden import canary, reference
from runtime.golden.judge import judge
from runtime.golden.reference import Reference
from runtime.golden.tensors import peak
from runtime.golden.verdict import Verdict
from runtime.models.finding import Finding, Subject
from runtime.models.manifest import Golden
from runtime.preprocess import Preprocessor
from runtime.probe import class_logits, limits, verdict
from runtime.probe.bench import Bench, Picture
from runtime.probe.outputs import Row, rows_by_shape, rows_of
from runtime.probe.risks import risks
from runtime.probe.verdict import Judged

DEFAULTS = Golden(image="-", reference="-")  # limits where a manifest has none


@dataclass(frozen=True)
class Report:
    """What probing gave.

    findings: the cause first, if there is one, then the risks seen in the file.  judged is None for
    a model whose head is refused; judged_by says what it was judged by.
    """

    model: str
    backend: str
    head: str
    rows: tuple[Row, ...]
    judged: Judged | None
    verdict: Verdict | None
    judged_by: str
    findings: tuple[Finding, ...]

    @property
    def cause(self) -> Finding | None:
        """What is wrong, None where nothing is."""
        first = self.findings[0] if self.findings else None
        return first if first is not None and first.level == "problem" else None


def probe(
    settings: config.Config,
    pictures: Sequence[Picture],
    float_model: Path | None = None,
    target: str = "",
) -> Report:
    """Probe a model on pictures; without any on its golden one.

    `float_model` is judged by where it is given, else the golden sample of the manifest where there
    is one.  Raises the errors of loading and running models.
    """
    files = read_model(settings.model)
    sample = canary.sample_of(files)
    if not pictures and sample is not None:
        pictures = [sample.pixels]
    if not pictures:
        raise ModelError(
            f"model {files.path}: expected an image to probe it on, its manifest has no golden "
            "sample: npud probe MODEL IMAGE"
        )
    try:
        detector = Detector(files, settings.model, settings.backend)
    except ModelError as error:
        return _refused(files, settings, pictures, str(error), target)
    try:
        if float_model is not None:
            references = _references(settings, float_model, pictures)
            judged_by = f"what {float_model.name} finds in the same pictures"
        else:
            references = [sample] if sample is not None else []
            judged_by = "the golden sample in its manifest" if references else ""
        return _probe(detector, pictures, references, judged_by, target)
    finally:
        detector.close()


def _probe(
    detector: Detector,
    pictures: Sequence[Picture],
    references: list[Reference],
    judged_by: str,
    target: str,
) -> Report:
    bench = Bench(detector, pictures)
    rows = rows_of(bench.run(bench.deployed)[0][0], detector.options.score_threshold)
    judgement = None
    if references:
        judged, judgement = _by_references(detector, references)
    else:
        judged, judged_by = verdict.alone(bench, rows), "the pictures alone"
    cause = judged.finding
    if cause is None and not references and not judged.deployed.count:
        cause = _silent(bench)
    subject = Subject(
        detector.files.info, detector.files.labels, target, detector.plan,
        stated=frozenset({"anchors"} if detector.files.manifest.anchors else ()),
    )  # fmt: skip
    found = [cause] if cause else []
    found += [_as_risk(one) for one in risks(subject, detector.files.path)]
    if references and judgement is not None and judgement.notes:
        note = "; ".join(judgement.notes)
        found.append(Finding("unlike_reference", "warning", note))
    return Report(
        detector.files.name, detector.backend.probe(), str(detector.plan), tuple(rows), judged,
        judgement, judged_by, tuple(found),
    )  # fmt: skip


def _as_risk(finding: Finding) -> Finding:
    """What the outputs do not show is a warning, however sure the file is of it."""
    return dataclasses.replace(finding, level="warning")


def _by_references(detector: Detector, references: list[Reference]) -> tuple[Judged, Verdict]:
    golden = detector.files.manifest.golden or DEFAULTS
    verdicts = [judge(detector, one, golden) for one in references]
    worst = min(
        range(len(verdicts)), key=lambda i: (verdicts[i].healthy, verdicts[i].figures.share)
    )
    meta = references[0].meta
    options = dataclasses.replace(
        detector.options,
        score_threshold=meta.score_threshold,
        iou_threshold=meta.iou_threshold,
        max_detections=meta.max_detections,
    )
    ordered = [references[worst], *references[:worst], *references[worst + 1 :]]
    found = [_above(one) for one in ordered]
    bench = Bench(detector, [one.pixels for one in ordered], found, options)
    rows = rows_of(bench.run(bench.deployed)[0][0], options.score_threshold)
    judged = verdict.by_reference(bench, rows, verdicts[worst], ordered[0].outputs)
    return judged, verdicts[worst]


def _above(one: Reference) -> Detections:
    """The reference's detections that reach its threshold."""
    kept = reference.reaching(one.found, one.meta.score_threshold)
    return Detections(one.found.boxes[kept], one.found.scores[kept], one.found.class_ids[kept])


def _references(
    settings: config.Config, path: Path, pictures: Sequence[Picture]
) -> list[Reference]:
    own = config.Model(
        path=str(path),
        score_threshold=settings.model.score_threshold,
        iou_threshold=settings.model.iou_threshold,
    )
    one = Detector(read_model(own), own, config.Backend(threads=settings.backend.threads))
    try:
        return [reference.make(one, pixels) for pixels in pictures]
    finally:
        one.close()


def _silent(bench: Bench) -> Finding:
    """Whether it is the model or the picture, where nothing is found whatever is tried."""
    highest = max(peak(o.values, o.plan.activation) for o, _ in bench.run(bench.deployed))
    here = f"nothing is found; the highest class logit is {highest:.1f}, σ = {_sigma(highest)}"
    remedy = "probe it on a picture that has something in it, or with the float model"
    command = f"npud probe {bench.detector.files.path.name} IMAGE --reference FLOAT_MODEL"
    if not bench.runs:
        text = f"{here}: of a recording no more can be said without a reference"
        return Finding("nothing_found", "warning", text, remedy, command)
    street = Bench(bench.detector, [scenes.Street(*CANARY).frame(CANARY_FRAME)[0]])
    outputs = street.run(street.deployed)[0][0]
    judged = verdict.alone(street, rows_of(outputs, bench.options.score_threshold))
    if judged.finding is not None:
        text = f"{here}; on npud's own street: {judged.finding.text}"
        return dataclasses.replace(judged.finding, text=text)
    top = peak(outputs.values, outputs.plan.activation)
    if judged.deployed.count >= limits.LEAST_COUNT:
        text = f"{here}; on npud's own street it finds {judged.deployed.count} objects: the model "
        return Finding("nothing_found", "ok", f"{text}works, the picture is empty for it")
    seen = f"{here}; on npud's own street {judged.deployed.count} objects, {top:.1f}"
    known = set(bench.detector.files.labels) & set(scenes.LABELS)
    if not known:
        text = f"{seen}: it is not known to find any of what is there"
        return Finding("nothing_found", "warning", text, remedy, command)
    text = f"{seen}, though there are {', '.join(sorted(known))} in it: class logits are too low"
    return Finding("collapsed_logits", "problem", text, class_logits.CALIBRATION, command)


def _sigma(value: float) -> str:
    return f"{1 / (1 + np.exp(-min(value, 60.0))):.2g}"


def _refused(
    files: ModelFiles,
    settings: config.Config,
    pictures: Sequence[Picture],
    refusal: str,
    target: str,
) -> Report:
    """A model that npud does not run: its outputs by shape, and why."""
    size = files.manifest.input.size or files.info.input_size
    backend = open_backend(
        settings.backend.name, files.path, backend_options(settings.backend, size, None)
    )
    try:
        spec = input_spec(files, backend)
        outputs = backend.infer([Preprocessor(spec)(Frame(pictures[0]))[0]])
        rows = rows_by_shape(backend.outputs, outputs, spec.size)
        name = backend.probe()
    finally:
        backend.close()
    subject = Subject(files.info, files.labels, target, refusal=refusal)
    static = risks(subject, files.path)
    cause = Finding("unknown_head", "problem", refusal, "state what is missing in the manifest")
    shared = next((f for f in static if f.name == "shared_tensor" and f.level == "problem"), None)
    if shared is not None:
        cause = dataclasses.replace(shared, name="concatenated_int8")
    others = [_as_risk(f) for f in static if f is not shared]
    return Report(
        files.name, name, "refused", tuple(rows), None, None, "its shapes", (cause, *others)
    )
