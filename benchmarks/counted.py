"""What runs under the instruction counters: every path CALLS times, from tensors in a file.

    python -m benchmarks.counted TENSORS.npz

The tensors are made outside, so that every machine counts on the same bytes.  Prints a line
"path<TAB>case<TAB>kernels" for each path that npud can decode, in the order of the calls; the first
call of each warms up, the last is not looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from benchmarks import heads
from benchmarks.paths import BY_NAME, CASES, IOU_THRESHOLD, candidates
from postprocess import _native

CALLS = 4
NMS = "NMS alone"
PAIRS = (
    *(("R", name) for name in BY_NAME),
    ("Q", "dfl NCHW int8, score sum"),
    ("Q", "dfl NCHW float32, score sum"),
    ("R", NMS),
    ("S", NMS),
    ("S1", NMS),
)


def needed() -> Iterator[tuple[str, str]]:
    """Case and name of every tensor that is used."""
    for case, name in PAIRS:
        for tensor in BY_NAME["flat float32" if name == NMS else name].names():
            yield case, tensor


def save(file: str) -> None:
    """Write the tensors for `main`."""
    cases = {case: heads.tensors(case) for case in {case for case, _ in PAIRS}}
    np.savez(file, **{f"{case}/{name}": cases[case][name] for case, name in needed()})


def main() -> None:
    """Make all decoders, then call them in turn."""
    with np.load(sys.argv[1]) as arrays:
        for key in arrays.files:
            case, name = key.split("/")
            CASES.setdefault(case, {})[name] = arrays[key]
    decoders = {(c, n): BY_NAME[n].decoder(c, "auto") for c, n in PAIRS if n != NMS}
    for case, name in PAIRS:
        decoder = decoders.get((case, name))
        if name == NMS:
            boxes, scores, class_ids = candidates(case)
            kept = np.empty(len(scores), np.int32)
            for _ in range(CALLS):
                _native.nms(boxes, scores, class_ids, kept, IOU_THRESHOLD, heads.CELLS, 0)
            print(f"{NMS}, {len(scores)} boxes\t{case}\t")
        elif decoder:
            tensors = BY_NAME[name].tensors(case)
            for _ in range(CALLS):
                decoder(tensors)
            print(f"{name}\t{case}\t{decoder.kernels}")


if __name__ == "__main__":
    main()
