"""What is right, doubtful or wrong with a calibration set: named, pure checks.

The figures quoted were measured with the vendors' toolchains; docs/calibration.md has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from runtime.calib import tensor_checks
from runtime.calib.sample import Sample, hamming
from runtime.calib.subject import SHOWN, Subject, some, values
from runtime.models.finding import Finding, Level

ADVISED, FEW = 100, 20
SAME_BITS = 4  # of 64: pictures whose hashes differ in no more are near-duplicates
FLAT_CONTRAST = 8.0  # standard deviation of luma below which a picture shows nothing
DARK, BRIGHT = 40.0, 215.0
NARROW_BRIGHTNESS, NARROW_CONTRAST = 20.0, 8.0  # from the 10th to the 90th percentile
SOME, MANY = 0.1, 0.5  # shares of the set
NEAR_ASPECT = 1.05


def readable(subject: Subject) -> Finding | None:
    """Files that a toolchain would stumble over, too."""
    failed = subject.found.unreadable
    if not failed:
        return None
    text = f"{len(failed)} files cannot be read: {some(failed)}"
    return Finding("readable", "problem", text, "take them out, or repair them")


def count(subject: Subject) -> Finding:
    """Enough pictures."""
    number = len(subject.samples)
    text = f"{number} pictures"
    if number >= ADVISED:
        return Finding("count", "ok", text)
    remedy = f"take {ADVISED} or more, of all times of day and places the camera will see"
    level: Level = "warning" if number else "problem"
    few = "; ranges then hang on single pictures" if number < FEW else ""
    return Finding("count", level, f"{text}, {ADVISED} are advised{few}", remedy)


def duplicates(subject: Subject) -> Finding | None:
    """Pictures that add nothing: consecutive frames, copies, crops of one size."""
    samples = [sample for sample in subject.samples if sample.contrast >= FLAT_CONTRAST]
    if len(samples) < 2:
        return None
    groups = near_duplicates(samples)
    spare = sum(len(group) - 1 for group in groups)
    if not groups:
        return Finding("duplicates", "ok", "no near-duplicates")
    group = max(groups, key=len)
    shown = some([sample.path.name for sample in group])
    text = f"{spare} of {len(samples)} pictures nearly repeat another one, e.g. {shown}"
    level = _level(spare / len(samples), SOME, MANY)
    remedy = f"--pick {max(1, len(samples) - spare)} chooses a diverse subset"
    return Finding("duplicates", level, text, "" if level == "ok" else remedy)


def near_duplicates(samples: list[Sample]) -> list[list[Sample]]:
    """Groups of two and more pictures, each within SAME_BITS of the group's first."""
    near = hamming(samples) <= SAME_BITS
    left, groups = np.ones(len(samples), bool), []
    for first in range(len(samples)):
        members = (near[first] & left).nonzero()[0] if left[first] else np.zeros(0, np.int64)
        left[members] = False
        if len(members) > 1:
            groups.append([samples[k] for k in members])
    return groups


def flat(subject: Subject) -> Finding | None:
    """Black, white and empty pictures."""
    empty = [s.path.name for s in subject.samples if s.contrast < FLAT_CONTRAST]
    if not empty:
        return None
    text = f"{len(empty)} of {len(subject.samples)} pictures show next to nothing: {some(empty)}"
    level: Level = "problem" if len(empty) >= MANY * len(subject.samples) else "warning"
    remedy = "take them out: a set of zeros alone gave a model that finds nothing"
    return Finding("flat", level, text, remedy)


def brightness(subject: Subject) -> Finding | None:
    """Day and night."""
    measured = values(subject.samples, "brightness")
    low, middle, high = np.percentile(measured, (10, 50, 90)) if len(measured) > 1 else (0, 0, 0)
    if len(measured) < 2:
        return None
    text = f"brightness {middle:.0f} of 255, 80 % of the pictures from {low:.0f} to {high:.0f}"
    remedy = "add pictures of other times of day, unless the camera sees one light only"
    if middle < DARK or middle > BRIGHT:
        return Finding("brightness", "warning", f"{text}: mostly {_extreme(middle)}", remedy)
    if high - low < NARROW_BRIGHTNESS:
        return Finding("brightness", "warning", f"{text}: all alike", remedy)
    return Finding("brightness", "ok", text)


def contrast(subject: Subject) -> Finding | None:
    """Haze, fog, glare and clear sight."""
    measured = values(subject.samples, "contrast")
    if len(measured) < 2:
        return None
    low, middle, high = np.percentile(measured, (10, 50, 90))
    text = f"contrast {middle:.0f}, 80 % of the pictures from {low:.0f} to {high:.0f}"
    if high - low < NARROW_CONTRAST:
        remedy = "add pictures of other weather and places"
        return Finding("contrast", "warning", f"{text}: all alike", remedy)
    return Finding("contrast", "ok", text)


def sizes(subject: Subject) -> Finding | None:
    """Pictures that are smaller than the model's input, and tensors that do not fit it."""
    size, tensors = subject.size, subject.found.tensors
    odd = [t.path.name for t in tensors if t.size != (size or tensors[0].size)]
    if odd:
        wanted = size or tensors[0].size
        text = f"{len(odd)} of {len(tensors)} tensors are not {wanted[1]}×{wanted[0]}: {some(odd)}"
        return Finding("sizes", "problem", text, "make all in the model's size")
    shown = _most(f"{s.width}×{s.height}" for s in subject.samples)
    if size is None or not subject.samples:
        return Finding("sizes", "ok", f"sizes: {shown}")
    small = [s.path.name for s in subject.samples if s.width < size[1] and s.height < size[0]]
    text = f"sizes: {shown}; the model's {size[1]}×{size[0]}"
    if len(small) <= SOME * len(subject.samples):
        return Finding("sizes", "ok", text)
    text += f"; {len(small)} are smaller, and soft when enlarged: {some(small)}"
    return Finding("sizes", "warning", text, "take pictures of the camera's own size")


def aspect(subject: Subject) -> Finding | None:
    """How toolchains fit pictures into the input: they stretch, where npud letterboxes."""
    images = [s for s in subject.samples if s.path.suffix.lower() not in (".npy", ".bin")]
    letterbox = subject.manifest.input.letterbox or "center"
    if not images or subject.size is None or letterbox == "stretch":
        return None
    wanted = subject.size[1] / subject.size[0]
    others = [s for s in images if max(s.aspect / wanted, wanted / s.aspect) > NEAR_ASPECT]
    if not others:
        return Finding("aspect", "ok", "all have the aspect of the model's input")
    text = (
        f"{len(others)} of {len(images)} are of another aspect than the model's input: toolchains "
        f"stretch images, npud letterboxes. Measured to be harmless (43 objects with either, of 54)"
    )
    return Finding("aspect", "ok", text)


def grey(subject: Subject) -> Finding | None:
    """Sets of infrared or monochrome pictures."""
    number = sum(sample.grey for sample in subject.samples)
    nv12 = any(t.layout == "nv12" for t in subject.found.tensors)
    if nv12 or number <= MANY * len(subject.samples):
        return None
    text = f"{number} of {len(subject.samples)} pictures have no colours"
    remedy = "add pictures in colour, unless the camera gives none (infrared)"
    return Finding("grey", "warning", text, remedy)


def camera(subject: Subject) -> Finding | None:
    """Whether the set covers what the deployed camera shows."""
    if not subject.camera or len(subject.samples) < 2:
        return None
    outside = []
    keys = ["brightness", "contrast", "sharpness"]
    keys += [] if subject.found.tensors else ["aspect"]  # tensors are fitted already
    for key in keys:
        measured, frames = values(subject.samples, key), values(subject.camera, key)
        low, high = np.percentile(measured, (2, 98))
        room = 0.02 * max(abs(low), abs(high))
        covered = float(((frames >= low - room) & (frames <= high + room)).mean())
        if covered < 1 - MANY:
            outside.append(f"{key} {np.median(frames):.3g}, the set has {low:.3g} to {high:.3g}")
    number = len(subject.camera)
    if outside:
        text = f"{number} frames of the camera lie outside the set: {'; '.join(outside)}"
        return Finding("camera", "warning", text, "add frames of this camera (npud record)")
    text = f"{number} frames of the camera lie within the set: {', '.join(keys)}"
    return Finding("camera", "ok", text)


Check = Callable[[Subject], Finding | None]
CHECKS: tuple[Check, ...] = (
    readable, count, sizes, aspect, tensor_checks.layout, tensor_checks.scaling,
    tensor_checks.colours, flat, duplicates, brightness, contrast, grey, camera,
)  # fmt: skip
LEVELS: tuple[Level, ...] = ("problem", "warning", "ok")


def check(subject: Subject) -> list[Finding]:
    """All findings: problems, warnings and what is well, each in the order of CHECKS."""
    found = [finding for one in CHECKS if (finding := one(subject)) is not None]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def _level(share: float, some: float, many: float) -> Level:
    return "problem" if share >= many else "warning" if share >= some else "ok"


def _extreme(brightness: float) -> str:
    return "dark" if brightness < DARK else "bright"


def _most(names: Iterable[str]) -> str:
    common = Counter(names).most_common()
    shown = ", ".join(f"{number} of {name}" for name, number in common[:SHOWN])
    return shown + (f" and {len(common) - SHOWN} other sizes" if len(common) > SHOWN else "")
