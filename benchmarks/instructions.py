"""Instructions per call of the post-processing, and a gate on them.

    python -m benchmarks.instructions            print them beside the goals
    python -m benchmarks.instructions --check    exit code 1 where one has grown
    python -m benchmarks.instructions --accept   make today's counts the accepted ones

Counts are exact: the same code and compiler give the same numbers on any machine.  The accepted
ones stand in instructions.toml beside this file with the compiler and kernels they belong to; with
other ones the gate reports but does not fail, since they would compare compilers, not changes.
Ki = 1000 instructions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.counters import ARCHITECTURES, Counts, count
from tests.board.requirements import BoardError, NoEmulatorError, in_ci

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_suffix(".toml")
HOW_TO_ACCEPT = "python -m benchmarks.instructions --accept"
HEADER = f"""\
# Instructions per call that are accepted; written by `{HOW_TO_ACCEPT}`.
"""
# Goals in Ki on x86-64 and aarch64.
GOALS = {
    "R dfl NCHW int8": (300, 360),
    "R dfl NHWC int8 logits": (230, 290),
    "R dfl NCHW float32": (560, 850),
    "R dfl NHWC float32": (570, 900),
    "R dfl NHWC int32 boxes": (570, 900),
    "R ltrb NHWC float32": (390, 600),
    "R anchor int8": (320, 360),
    "R anchor float32": (380, 480),
    "Q dfl NCHW int8, score sum": (250, 280),
    "R NMS alone, 293 boxes": (60, 80),
}
ROW = "{:<32}{:>10}{:>8}{:>9}   {}"
TOLERANCE = 0.03


def main() -> int:
    """Count, print, compare; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true")
    action.add_argument("--accept", action="store_true")
    parser.add_argument("--arch", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    options = parser.parse_args()
    accepted = tomllib.loads(FILE.read_text()) if FILE.exists() else {}
    failures = []
    for architecture in options.arch:
        try:
            found = count(architecture)
        except BoardError as error:
            print(f"{architecture}: {error}", file=sys.stderr)
            if in_ci() or not isinstance(error, NoEmulatorError):
                return 1
            continue
        show(architecture, found, accepted.get(architecture, {}))
        if options.check:
            failures += compare(architecture, found, accepted.get(architecture, {}))
        accepted[architecture] = as_table(found)
    if options.accept:
        FILE.write_text(HEADER + "".join(map(as_toml, accepted, accepted.values())))
        print(f"accepted: {FILE.name}")
    for failure in failures:
        print(failure)
    if failures:
        print(f"If this is meant, accept it with: {HOW_TO_ACCEPT}")
    return int(bool(failures))


def show(architecture: str, found: Counts, accepted: Mapping[str, Any]) -> None:
    """Print the counts of one architecture beside the accepted ones and the goals."""
    print(f"\n{architecture}, {found.kernels} kernels, {found.compiler}")
    print(ROW.format("", "Ki/call", "goal", "accepted", ""))
    before = accepted.get("calls", {})
    for name in sorted({*GOALS, *found.calls}):
        calls, goal = found.calls.get(name), GOALS.get(name, (None, None))
        limit = goal[ARCHITECTURES.index(architecture)]
        verdict = ""
        if calls and limit:
            over = calls / 1000 / limit
            verdict = "reached" if over <= 1 else f"{over:.2f} × goal"
        row = (name, _ki(calls), limit or "", _ki(before.get(name)), verdict)
        print(ROW.format(*row).rstrip())


def compare(architecture: str, found: Counts, accepted: Mapping[str, Any]) -> list[str]:
    """Say what differs from the accepted counts; return what must not be."""
    same = (accepted.get("compiler"), accepted.get("kernels")) == (found.compiler, found.kernels)
    if not same:
        print(
            f"{architecture}: accepted were {accepted.get('kernels')} kernels of "
            f"{accepted.get('compiler')}: differences are shown, but no failure"
        )
    failures = []
    for name, before in accepted.get("calls", {}).items():
        now = found.calls.get(name)
        if now is None:
            failures.append(f"FAILED {architecture} {name}: not decoded any more")
            continue
        growth = now / before - 1
        if abs(now - before) > TOLERANCE * before:
            text = f"{architecture} {name}: {before} instructions were accepted, now {now} "
            text += f"({growth:+.1%}, tolerance {TOLERANCE:.0%})"
            if growth > 0 and same:
                failures.append("FAILED " + text)
            else:
                print(text)
    new = sorted(set(found.calls) - set(accepted.get("calls", {})))
    if new:
        print(f"{architecture}: not accepted yet, so not compared: {', '.join(new)}")
    return failures


def as_table(found: Counts) -> dict[str, Any]:
    """What instructions.toml says of one architecture."""
    return {"compiler": found.compiler, "kernels": found.kernels, "calls": found.calls}


def as_toml(architecture: str, table: Mapping[str, Any]) -> str:
    """The same as TOML."""
    lines = [f"\n[{architecture}]"]
    lines += [f'{key} = "{table[key]}"' for key in ("compiler", "kernels")]
    lines += [f"\n[{architecture}.calls]"]
    lines += [f'"{name}" = {calls}' for name, calls in sorted(table["calls"].items())]
    return "\n".join(lines) + "\n"


def _ki(instructions: int | None) -> str:
    return "–" if instructions is None else f"{instructions / 1000:.1f}"


if __name__ == "__main__":
    sys.exit(main())
