"""npud's post-processing beside what people use today, in one run: python -m benchmarks.compare.

`--quick` for fewer rounds, cases as arguments (default: all).  One thread; medians of interleaved
samples of CPU time, with fastest and slowest.  "same": how many of npud's boxes the other returned
too (class equal, IoU ≥ 0.98), of how many either returned.  "–": npud cannot decode this yet.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import competitors, heads
from benchmarks.paths import IOU_THRESHOLD, PATHS, Path, candidates
from benchmarks.timing import Times, interleaved
from postprocess import _native

# S and S1 measure quantity: two types are enough
STRESS = ("dfl NCHW int8", "dfl NCHW float32", "ltrb NHWC float32", "flat float32")
RECIPE = "NumPy + cv2.dnn.NMSBoxes"
ROW = "{:<3}{:<28}{:<25}{:>8}  {:>16}{:>7}  {}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("cases", nargs="*", choices=[[], *heads.CASES], metavar="CASE")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    measure = partial(interleaved, rounds=7 if options.quick else 25)
    cv2.setNumThreads(1)
    print(
        f"post-processing, {platform.machine()}, one thread, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, OpenCV {cv2.__version__}"
    )
    print(ROW.format("", "path", "", "µs", "fastest – slowest", "×", "same"))
    for case in options.cases or heads.CASES:
        for path in PATHS:
            if applies(path, case):
                compare_decoders(path, case, measure)
        compare_nms(case, measure)


def applies(path: Path, case: str) -> bool:
    """Whether a path is measured on a case."""
    if case in ("S", "S1", "M"):
        return path.name in STRESS
    return case != "Q" or "NCHW" in path.name


def compare_decoders(path: Path, case: str, measure: Any) -> None:
    """One path: npud's decoder, called from Python, and the recipe."""
    decoder = path.decoder(case)
    tensors = path.tensors(case)
    theirs = competitors.recipe(path, case)
    contenders: dict[str, Callable[[], Any]] = {RECIPE: lambda: theirs(tensors)}
    if decoder is None:
        found = None
    else:
        ours = decoder
        contenders = {f"npud ({ours.kernels})": lambda: ours(tensors), **contenders}
        result = ours(tensors)
        found = (result.boxes, result.class_ids)
    boxes, _, class_ids = theirs(tensors)
    same = {RECIPE: agreement(found, (boxes, class_ids))}
    show(case, path.name, measure(contenders), same)


def compare_nms(case: str, measure: Any) -> None:
    """NMS alone."""
    boxes, scores, class_ids = candidates(case)
    kept = np.empty(len(scores), np.int32)
    arguments = (boxes, scores, class_ids, kept, IOU_THRESHOLD, heads.CELLS, 0)
    ours = set(kept[: _native.nms(*arguments)].tolist())
    contenders: dict[str, Callable[[], Any] | None] = {
        "npud": lambda: _native.nms(*arguments),
        "powerboxes": competitors.powerboxes_nms(boxes, scores, class_ids),
        "onnxruntime's op": competitors.onnxruntime_nms(boxes, scores, class_ids),
        "cv2.dnn.NMSBoxesBatched": partial(competitors.nms_boxes_batched, boxes, scores, class_ids),
        "cv2.dnn.NMSBoxes": partial(competitors.nms_boxes_per_class, boxes, scores, class_ids),
    }
    present = {name: function for name, function in contenders.items() if function}
    same = {}
    for name, function in list(present.items())[1:]:
        theirs = {int(index) for index in function()}
        same[name] = f"{len(ours & theirs)}/{len(ours | theirs)}"
    show(case, f"NMS alone, {len(scores)} boxes", measure(present), same)
    for name in sorted(set(contenders) - set(present)):
        print(ROW.format("", "", name, "not installed", "", "", ""))


def agreement(
    ours: tuple[NDArray[Any], NDArray[Any]] | None, theirs: tuple[NDArray[Any], NDArray[Any]]
) -> str:
    """How many boxes are the same, of all that either returned."""
    if ours is None:
        return ""
    left = list(range(len(theirs[1])))
    both = 0
    for box, class_id in zip(*ours):
        members = [i for i in left if theirs[1][i] == class_id]
        if not members:
            continue
        iou = overlap(box, theirs[0][members])
        if iou.max() >= 0.98:
            both += 1
            left.remove(members[int(iou.argmax())])
    return f"{both}/{len(ours[1]) + len(left)}"


def overlap(box: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """IoU of one xyxy box with (N, 4) others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    inter = np.clip(sides, 0, None).prod(1)
    area = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1)
    iou: NDArray[Any] = inter / (area - inter)
    return iou


def show(case: str, what: str, times: dict[str, Times], same: dict[str, str]) -> None:
    """Print the rows of one comparison; × is the ratio to npud."""
    first = next(iter(times))
    base = times[first].median if first.startswith("npud") else None
    rows = [("npud", "–", "", "", "")] if base is None else []
    for name, t in times.items():
        ratio = f"{t.median / base:.1f}" if base else ""
        span = f"{micro(t.low)} – {micro(t.high)}"
        rows.append((name, micro(t.median), span, ratio, same.get(name, "")))
    for row in rows:
        print(ROW.format(case, what, *row).rstrip())
        case = what = ""


def micro(seconds: float) -> str:
    """Microseconds, to three or four figures."""
    return f"{seconds * 1e6:.{1 if seconds < 1e-3 else 0}f}"


if __name__ == "__main__":
    main()
