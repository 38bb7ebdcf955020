"""Checks of ready-made input tensors: scaling, layout, channel order.

The figures quoted were measured with the vendors' toolchains; docs/calibration.md has them.
"""

from __future__ import annotations

from collections import Counter

from runtime.calib.subject import Subject, some, values
from runtime.models.finding import Finding


def scaling(subject: Subject) -> Finding | None:
    """Whether tensors were divided by 255: then nobody may do so again."""
    tensors = subject.found.tensors
    if not tensors:
        return None
    kinds = Counter(tensor.scaled for tensor in tensors)
    low, high = min(t.low for t in tensors), max(t.high for t in tensors)
    text = f"values from {low:.3g} to {high:.3g}"
    broken = [t.path.name for t in tensors if not t.finite]
    if broken:
        return Finding("scaling", "problem", f"NaN or infinite: {some(broken)}", "make them anew")
    if len(kinds) > 1:
        shown = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        return Finding("scaling", "problem", f"mixed: {shown}", "make all alike, 0..255")
    kind = tensors[0].scaled
    if kind == "0..255":
        return Finding("scaling", "ok", f"{text}: not divided yet, as toolchains expect")
    if kind == "constant":
        return Finding("scaling", "problem", f"{text}: one number only", "make them anew")
    done = "divided by 255 already" if kind == "0..1" else "mean and std applied already"
    remedy = (
        "write them as 0..255 and let the toolchain scale (std_values 255, scale_value 1/255); "
        "scaled here and there, or here but not on the board, yolo26n found 0 of 54 objects"
    )
    return Finding("scaling", "problem", f"{text}: {done}", remedy)


def layout(subject: Subject) -> Finding | None:
    """Type and memory layout of tensors."""
    tensors = subject.found.tensors
    if not tensors:
        return None
    kinds = Counter((t.dtype, t.layout) for t in tensors)
    shown = ", ".join(f"{number} {dtype} {form.upper()}" for (dtype, form), number in kinds.items())
    if len(kinds) > 1:
        return Finding("layout", "problem", f"mixed: {shown}", "make all alike")
    wanted = subject.manifest.input.layout
    form = tensors[0].layout
    text = f"{shown} ({tensors[0].evidence})"
    if wanted and form != "nv12" and form != wanted:
        remedy = f"write them as {wanted.upper()}: the wrong order found 36 objects instead of 43"
        return Finding("layout", "problem", f"{text}; the manifest says {wanted.upper()}", remedy)
    return Finding("layout", "ok", text)


def colours(subject: Subject) -> Finding | None:
    """Channel order of tensors against the manifest, where images of the same name tell it."""
    tensors, evidence = subject.found.tensors, subject.found.colours
    wanted = subject.manifest.input.color or "rgb"
    if not tensors:
        text = f"image files carry their channel order; the toolchain must be told {wanted.upper()}"
        return Finding("colours", "ok", text)
    if all(t.layout == "nv12" for t in tensors):
        return Finding("colours", "ok", "NV12 has no order of red and blue")
    if not evidence:
        text = (
            "the channel order of tensors cannot be read from them: put the images they were made "
            f"of beside them, under the same names; {_balance(subject, wanted)}"
        )
        return Finding("colours", "ok", text)
    rgb = sum(one.rgb for one in evidence)
    order = "rgb" if rgb * 2 > len(evidence) else "bgr"
    agree = max(rgb, len(evidence) - rgb)
    text = f"{agree} of {len(evidence)} tensors beside an image of their name are {order.upper()}"
    if agree < 0.9 * len(evidence):
        return Finding("colours", "warning", f"mixed: {text}", "make all alike")
    if order == wanted:
        return Finding("colours", "ok", f"{text}, as the manifest says")
    remedy = f"write them as {wanted.upper()}, or state input.color if the model is {order.upper()}"
    return Finding("colours", "problem", f"{text}, the manifest says {wanted.upper()}", remedy)


def _balance(subject: Subject, wanted: str) -> str:
    """The hint that is left: outdoors and indoors red mostly outweighs blue, a little."""
    mean = float(values(subject.samples, "red_blue").mean())
    more = "red" if mean > 0 else "blue"
    return (
        f"read as {wanted.upper()}, {more} outweighs by {abs(mean):.0f} of 255, which is no more "
        "than a hint (37 of 50 photographs of COCO have more red)"
    )
