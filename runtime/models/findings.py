"""What is right, doubtful or wrong with a model, as far as its file shows: named, pure checks.

Every check takes a Subject and returns a Finding, or None where it does not apply.  The figures
they quote were measured with the vendors' toolchains; docs/model-files.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable

from postprocess.plan import HeadPlan
from postprocess.tensor import TensorSpec
from runtime.models import score_findings, versions
from runtime.models.finding import TARGETS, Finding, Level, Subject


def head(subject: Subject) -> Finding | None:
    """A head that is known, and activation that is certain."""
    if subject.plan is not None:
        return Finding("head", "ok", f"known {subject.plan.head} head")
    if _dynamic(subject.info.outputs):
        return None  # `fixed_size` says it
    remedy = "state what is missing in the manifest, or export with one of the known heads"
    return Finding("head", "problem", subject.refusal, remedy)


def fixed_size(subject: Subject) -> Finding | None:
    """Fixed shapes: boards need them, and the head is recognised by them."""
    if not _dynamic(subject.info.inputs + subject.info.outputs):
        return None
    names = ", ".join(s.name for s in subject.info.inputs + subject.info.outputs if 0 in s.shape)
    level: Level = "warning" if subject.info.format == "onnx" else "problem"
    remedy = "export with a fixed size, or say input.size = [height, width] in the manifest"
    return Finding("fixed_size", level, f"dynamic dimensions in {names}", remedy)


def one_picture(subject: Subject) -> Finding | None:
    """Exactly one input, a picture."""
    inputs = subject.info.inputs
    if len(inputs) == 1 and subject.info.picture is not None:
        return None
    got = ", ".join(map(str, inputs)) or "none"
    remedy = "export the model with one input, [1,3,H,W]"
    return Finding("one_picture", "problem", f"expected one input, a picture, got {got}", remedy)


def target(subject: Subject) -> Finding | None:
    """The chip the file was made for, against the board in question."""
    wanted, info = TARGETS.get(subject.target), subject.info
    if wanted is None:
        return None
    if info.target in wanted:
        return Finding("target", "ok", f"made for {info.target}, as {subject.target} needs")
    made = (
        f"made for {info.target}" if info.target else f"an .{info.format} file, made for no board"
    )
    remedy = f"convert the original model for {wanted[0]}"
    return Finding(
        "target", "problem", f"{made}; {subject.target} needs one for {wanted[0]}", remedy
    )


def toolkit(subject: Subject) -> Finding | None:
    """The toolkit's version against those that were tested."""
    verdict = versions.verdict(subject.info)
    if verdict is None:
        return None
    level, text = verdict
    remedy = f"compare detections on a known picture; it needs {versions.needs(subject.info)}"
    return Finding("toolkit", level, text, "" if level == "ok" else remedy)


def calibration(subject: Subject) -> Finding | None:
    """Quantization ranges that were measured, not guessed."""
    info, method = subject.info, subject.info.calibration.lower()
    if not info.grids:
        return None
    if method == "skip":
        remedy = "convert again with calibration_type: default and 20 or more typical pictures"
        text = "calibration was skipped: ranges are guessed, such models find nothing"
        return Finding("calibration", "problem", text, remedy)
    if method == "kl":
        text = "calibrated with kl, which found 31 objects where default found 45"
        remedy = "convert again with calibration_type: default and compare"
        return Finding("calibration", "warning", text, remedy)
    ranges = [grid.range for grid in info.grids.values()]
    if info.format == "rknn" and not all(ranges):
        remedy = "convert again with a dataset of 20 or more typical pictures"
        return Finding("calibration", "warning", "quantized without calibrated ranges", remedy)
    text = "quantized with calibrated ranges" if info.format == "rknn" else f"calibrated, {method}"
    return Finding("calibration", "ok", text) if method else None


def scaling(subject: Subject) -> Finding | None:
    """Pixels that are scaled inside the model, as calibration and run time both assume."""
    info, spec = subject.info, subject.info.picture
    pixels = info.pixels.get(spec.name) if spec else None
    if pixels is None or info.format == "onnx" or (subject.plan and _takes_bytes(subject.plan)):
        return None
    if any(abs(std - 1) > 1e-6 for std in pixels.std):
        remedy = ""
        if info.format == "bin":
            remedy = (
                "if it finds nothing at all, the calibration data may have been divided too, which "
                "no file shows: calibrate it on pixels of 0..255"
            )
        text = f"the model itself divides pixels by {pixels.std[0]:g}"
        return Finding("scaling", "ok", text, remedy)
    key = "std_values" if info.format == "rknn" else "scale_value"
    text = "pixels reach the network as 0..255, where YOLO exports expect 0..1"
    remedy = f"convert again with {key} for 1/255, unless the network divides by 255 itself"
    return Finding("scaling", "problem" if info.format == "bin" else "warning", text, remedy)


def anchors(subject: Subject) -> Finding | None:
    """Anchors of an anchor head, which no file holds in a form that all exporters share."""
    if subject.plan is None or subject.plan.head != "anchor":
        return None
    if "anchors" in subject.stated:
        return Finding("anchors", "ok", "the manifest states the anchors")
    text = "no anchors are stated: those of YOLOv5 on COCO are used"
    remedy = "if boxes have wrong sizes, state `anchors` in the .toml beside the model"
    return Finding("anchors", "warning", text, remedy)


def half_sigmoid(subject: Subject) -> Finding | None:
    """A sigmoid in 16-bit floats on RK3588, which one user measured to be too low."""
    if subject.info.target != "rk3588" or subject.plan is None:
        return None
    for level in subject.plan.levels:
        spec = subject.info.outputs[level.cls]
        origin = subject.info.origins.get(spec.name)
        if spec.dtype.name == "float16" and origin is not None and origin.op == "Sigmoid":
            text = "the class sigmoid runs in float16 on the NPU: scores 10–40 % low were reported"
            remedy = "cut the model before the sigmoid; npud applies it exactly"
            return Finding("half_sigmoid", "warning", text, remedy)
    return None


def labels(subject: Subject) -> Finding | None:
    """One label per class."""
    classes = subject.plan.num_classes if subject.plan else 0
    remedy = 'list them in the .toml beside the model: labels = ["person", …]'
    if not subject.labels:
        of = f" of {classes} classes" if classes else ""
        return Finding("labels", "warning", f"the names{of} are not known", remedy)
    if classes and classes != len(subject.labels):
        text = f"expected {classes} labels, one per class, got {len(subject.labels)}"
        return Finding("labels", "problem", text, remedy)
    first = ", ".join(label[:20] for label in subject.labels[:3])
    return Finding("labels", "ok", f"{len(subject.labels)} labels: {first}, …")


def digest(subject: Subject) -> Finding | None:
    """The file that the manifest was written for."""
    if "digest" not in subject.stated:
        return None
    if not subject.foreign:
        return Finding("digest", "ok", "the file that the manifest was written for")
    text = f"the manifest was written for another file, with digest {subject.foreign}"
    remedy = "draft it anew, what it states is kept: npud manifest MODEL --force"
    return Finding("digest", "problem", text, remedy)


def golden(subject: Subject) -> Finding | None:
    """A golden sample, by which the model is judged whenever it is loaded."""
    if "golden" in subject.stated:
        return Finding("golden", "ok", "has a golden sample, checked whenever it is loaded")
    remedy = "make one: npud manifest MODEL --golden IMAGE --reference FLOAT_MODEL"
    return Finding("golden", "ok", "no golden sample: nothing is checked by running it", remedy)


LEVELS: tuple[Level, ...] = ("problem", "warning", "ok")
Check = Callable[[Subject], Finding | None]
CHECKS: tuple[Check, ...] = (
    target, toolkit, one_picture, fixed_size, scaling, calibration, head,
    score_findings.shared_tensor, score_findings.reachable_scores, score_findings.score_steps,
    half_sigmoid, anchors, labels, digest, golden,
)  # fmt: skip


def check(subject: Subject) -> list[Finding]:
    """All findings: problems, warnings and what is well, each in the order of CHECKS."""
    found = [finding for one in CHECKS if (finding := one(subject)) is not None]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def _dynamic(specs: tuple[TensorSpec, ...]) -> bool:
    return any(side == 0 for spec in specs for side in spec.shape)


def _takes_bytes(plan: HeadPlan) -> bool:
    return plan.head == "yolox"  # trained on 0..255
