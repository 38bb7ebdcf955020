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
    source: Path, forms: Sequence[Form], folder: Path, picture: Frame, force: bool = False
) -> Prepared:
    """Write a variant of `source` for each form into `folder`; raises NpudError, then writes none.

    `picture` is what uncut and cut models are compared on.
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
        variants = _write(forms, targets, graph, head, detector, picture, uncut)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write there: {error.strerror or error}") from None
    kept = graph.nodes_to(part.raw.name for part in head.parts)
    count = Counter(node.op_type for node in kept if node.op_type in WATCHED)
    return Prepared(source, detector.plan, head, tuple(variants), dict(count))


def _write(
    forms: Sequence[Form],
    targets: Sequence[Path],
    graph: Graph,
    head: Head,
    uncut: Detector,
    picture: Frame,
    expected: Detections,
) -> list[Variant]:
    """Write beside the targets, compare, and only then move there."""
    folder = targets[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    variants = []
    with tempfile.TemporaryDirectory(prefix=".npud-prepare-", dir=folder) as scratch:
        for form, target in zip(forms, targets):
            made = Path(scratch) / target.name
            onnx.save(cut(graph, head, form), str(made))
            made.with_suffix(".toml").write_text(manifest_of(uncut, head, form))
            plan, difference = _compare(made, picture, uncut, expected)
            variants.append(Variant(target, form, plan, difference))
        for target in targets:
            for path in (target, target.with_suffix(".toml")):
                (Path(scratch) / path.name).replace(path)
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


def _compare(
    made: Path, picture: Frame, uncut: Detector, expected: Detections
) -> tuple[HeadPlan, Difference]:
    try:
        detector = verify.open_model(made)
        try:
            found = verify.found_by(detector, picture)
        finally:
            detector.close()
        room = uncut.plan.cells if uncut.plan.head == "end2end" else verify.MOST
        difference = verify.compare(expected, found, room)
        verify.check(difference)
    except ModelError as error:
        text = str(error).removeprefix(f"model {made}: ")
        raise ModelError(f"model {uncut.files.path}: {made.name} was not written: {text}") from None
    return detector.plan, difference
