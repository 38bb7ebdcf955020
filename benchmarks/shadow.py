"""What a shadow costs the published variant.

    python -m benchmarks.shadow [--seconds 5] [--rounds 6]

One daemon, four cameras with 1080p frames from memory, two contexts of an NPU that takes 10 ms; a
comparison is switched on and off by `npud reload`, in turns.  b has a worker process of its own and
sees every frame that it can.  Prints a's rate and latency with and without, and the ratios.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import npud
from benchmarks import pipeline_parts
from benchmarks.pipeline import Case, collect, config_of, daemon

CASE = Case("shadow", cameras=4, fps=30, contexts=2, format="nv12")
SHADOW = '\n[compare]\nmode = "shadow"\nsample = 1.0\n'


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    ages: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = pipeline_parts.write_model(folder, "rgb")
        with (
            daemon(CASE, model, folder) as (_, endpoint),
            npud.subscribe(endpoint, heartbeat_timeout_s=30) as subscriber,
        ):
            collect(subscriber, 2)
            for number in range(2 * options.rounds):
                on = bool(number % 2)
                text = config_of(CASE, model, endpoint) + (SHADOW if on else "")
                (folder / "config.toml").write_text(text)
                reload = [sys.executable, "-m", "runtime.cli", "reload", endpoint]
                subprocess.run(reload, check=True, stdout=subprocess.DEVNULL)
                collect(subscriber, 1)
                ages[on] += collect(subscriber, options.seconds)[0]
    show(ages, options.rounds * options.seconds)


def show(ages: dict[bool, list[float]], seconds: float) -> None:
    """Print both rows and their ratio."""
    rows = {on: [len(a) / seconds, *np.percentile(a, [50, 99])] for on, a in ages.items()}
    print("| | fps | latency ms p50 | p99 |\n|---|---|---|---|")
    for on, what in ((False, "without"), (True, "with a shadow")):
        print(f"| {what} | {rows[on][0]:.1f} | {rows[on][1]:.2f} | {rows[on][2]:.2f} |")
    ratios = [b / a for a, b in zip(rows[False], rows[True])]
    print(f"| ratio | {ratios[0]:.3f} | {ratios[1]:.3f} | {ratios[2]:.3f} |")


if __name__ == "__main__":
    main()
