"""What runs under the instruction counters: every path of benchmarks.letterbox, CALLS times."""

from __future__ import annotations

from benchmarks.letterbox import CALLS, PATHS


def main() -> None:
    """Run all paths in turn; a line "path<TAB>case<TAB>kernels" for each."""
    for path in PATHS:
        preprocess, frame = path.preprocess()
        for _ in range(CALLS):
            preprocess(frame)
        case, _, name = path.name.partition(" ")
        print(f"{name}\t{case}\t{preprocess.kernels}")


if __name__ == "__main__":
    main()
