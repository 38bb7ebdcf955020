"""Find the head, cut, write the variants with manifests, compare them; or leave nothing."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from npud.detections import Detections
from npud.errors import ConfigError, ModelError
from postprocess.plan import HeadPlan
from runtime.detector import Detector
from runtime.frame import Frame
from runtime.golden import reference
from runtime.prepare import verify
from runtime.prepare.cut import Form, cut
from runtime.prepare.graph import Graph, onnx
from runtime.prepare.head import Head, find
from runtime.prepare.manifest import manifest_of
from runtime.prepare.verify import Difference

WATCHED = ("Softmax", "LayerNormalization", "Erf", "Gelu")  # often weak on NPUs, in int8 above all


@dataclass(frozen=True)
class Variant:
    """One written model; `plan` is how npud reads it, `difference` how far it is from the uncut."""

    path: Path
    form: Form
    plan: HeadPlan
    difference: Difference


@dataclass(frozen=True)
class Prepared:
    """What was done with one model; `left` counts operations of WATCHED that stay in the graph."""

    source: Path
    read_as: HeadPlan
    head: Head
    variants: tuple[Variant, ...]
    left: dict[str, int] = field(default_factory=dict)


def prepare(
    source: Path,
    forms: Sequence[Form],
    folder: Path,
    picture: Frame,
    *,
    golden: bool = False,
    force: bool = False,
) -> Prepared:
    """Write a variant of `source` for each form into `folder`; raises NpudError, then writes none.

    `picture` is what uncut and cut models are compared on, and with `golden` the golden sample's.
    """
    targets = [folder / f"{source.stem}.{form.sigmoid}-sigmoid.onnx" for form in forms]
    _check_targets(source, targets, force)
    detector = verify.open_model(source)
    try:
        graph, head = _find(source, detector)
        uncut = verify.found_by(detector, picture)
    finally:
        detector.close()
    if not len(uncut):
        raise ModelError(
            f"model {source}: it finds nothing in {picture.name}: give another picture"
        )
    try:
        job = _Job(graph, head, detector, picture, uncut, golden)
        variants = _write(job, forms, targets)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write there: {error.strerror or error}") from None
    kept = graph.nodes_to(part.raw.name for part in head.parts)
    count = Counter(node.op_type for node in kept if node.op_type in WATCHED)
    return Prepared(source, detector.plan, head, tuple(variants), dict(count))


@dataclass(frozen=True)
class _Job:
    """What all variants have in common; `expected` is what the uncut model finds in `picture`."""

    graph: Graph
    head: Head
    uncut: Detector
    picture: Frame
    expected: Detections
    golden: bool

    @property
    def golden_names(self) -> tuple[str, str] | None:
        """Names of the golden sample's picture and arrays."""
        stem = self.uncut.files.path.stem
        return (f"{stem}.golden.png", f"{stem}.golden.npz") if self.golden else None


def _write(job: _Job, forms: Sequence[Form], targets: Sequence[Path]) -> list[Variant]:
    """Write beside the targets, compare, and only then move there."""
    folder = targets[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    variants: list[Variant] = []
    with tempfile.TemporaryDirectory(prefix=".npud-prepare-", dir=folder) as scratch:
        for form, target in zip(forms, targets):
            made = Path(scratch) / target.name
            onnx.save(cut(job.graph, job.head, form), str(made))
            text = manifest_of(job.uncut, job.head, form, job.golden_names)
            made.with_suffix(".toml").write_text(text)
            plan, difference = _compare(job, made, first=not variants)
            variants.append(Variant(target, form, plan, difference))
        for path in sorted(Path(scratch).iterdir()):
            path.replace(folder / path.name)
    return variants


def _check_targets(source: Path, targets: Sequence[Path], force: bool) -> None:
    if source.suffix.lower() != ".onnx":
        raise ModelError(f"model {source}: expected an .onnx file, which is what boards convert")
    for target in targets:
        if target.exists() and (not force or target.samefile(source)):
            raise ModelError(f"{target}: it exists; give another folder, or --force")


def _find(source: Path, detector: Detector) -> tuple[Graph, Head]:
    """The head of the model; raises ModelError."""
    (picture,) = detector.backend.inputs
    try:
        graph = Graph(source)
        for spec in (*detector.backend.inputs, *detector.backend.outputs):
            if spec.dtype.name != "float32":
                raise ModelError(f"expected the float32 export, got {spec}")
        _fix_input(graph, picture.shape)
        return graph, find(graph, detector.plan, detector.backend.outputs, picture)
    except ModelError as error:
        text = str(error)
        raise ModelError(text if str(source) in text else f"model {source}: {text}") from None


def _fix_input(graph: Graph, shape: Sequence[int]) -> None:
    """Give the input the size that it was run with: boards need a fixed one."""
    dims = graph.inputs[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, shape):
        dim.dim_value = size


def _compare(job: _Job, made: Path, first: bool) -> tuple[HeadPlan, Difference]:
    """Run a variant; the first one, a float model with raw heads, is the golden sample's too."""
    try:
        detector = verify.open_model(made)
        try:
            found = verify.found_by(detector, job.picture)
            if job.golden_names and first:
                image, arrays = (made.with_name(name) for name in job.golden_names)
                reference.save(reference.make(detector, job.picture.pixels), image, arrays)
        finally:
            detector.close()
        uncut = job.uncut.plan
        room = uncut.cells if uncut.head == "end2end" else verify.MOST
        difference = verify.compare(job.expected, found, room)
        verify.check(difference)
    except ModelError as error:
        text = str(error).removeprefix(f"model {made}: ")
        where = f"model {job.uncut.files.path}: {made.name} was not written"
        raise ModelError(f"{where}: {text}") from None
    return detector.plan, difference
