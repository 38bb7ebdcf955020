"""What `npud compare` shows, as text and as JSON."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from runtime.accuracy.compare import Comparison
from runtime.accuracy.tally import HEAD, Limits

WORST = 5


def as_json(result: Comparison, limits: Limits, verdict: str, beyond: list[str]) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "a": {"model": result.name_a, "head": str(result.plan_a)},
        "b": {"model": result.name_b, "head": str(result.plan_b)},
        "verdict": verdict,
        "beyond": beyond,
        "notes": result.notes,
        "limits": dataclasses.asdict(limits),
        "complete": not result.interrupted,
        "outputs": [tally.to_dict() for tally in result.tallies],
        "detections": detections(result),
        "pictures": [
            {
                "picture": one.picture,
                "a": one.a,
                "b": one.b,
                "matched": len(one.iou),
                "lost": len(one.lost),
                "extra": len(one.extra),
            }
            for one in result.found
        ],
    }


def detections(result: Comparison) -> dict[str, Any]:
    """Counts and differences of the detections over all pictures; None where nothing matched."""
    shifts, ious = result.shifts, result.all("iou")
    some = len(shifts) > 0
    return {
        "pictures": len(result.found),
        "a": result.total("a"),
        "b": result.total("b"),
        "matched": len(shifts),
        "matched_share": result.matched_share,
        "lost": result.total("lost"),
        "extra": result.total("extra"),
        "score_shift_mean": float(shifts.mean()) if some else None,
        "score_shift_mean_absolute": float(abs(shifts).mean()) if some else None,
        "score_shift_largest": float(abs(shifts).max()) if some else None,
        "iou_mean": float(ious.mean()) if some else None,
        "iou_least": float(ious.min()) if some else None,
    }


def as_text(result: Comparison, limits: Limits, verdict: str, beyond: list[str]) -> str:
    """The same for readers."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=110, highlight=False)
    for letter, name, plan in (
        ("A", result.name_a, result.plan_a),
        ("B", result.name_b, result.plan_b),
    ):
        console.print(f"{letter}  {name}: {plan}", markup=False, soft_wrap=True)
    for note in result.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    console.print()
    if result.tallies:
        console.print(_outputs(result))
        console.print(f"mismatched: |b-a| > {limits.atol:g} + {limits.rtol:g}·|a|\n", markup=False)
    console.print(_found(result))
    for line in _worst(result):
        console.print(line, markup=False, soft_wrap=True)
    console.print()
    console.print(
        f"{verdict}{': ' if beyond else ''}{'; '.join(beyond)}", markup=False, soft_wrap=True
    )
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().splitlines())


def _plain_table(first: str, names: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _outputs(result: Comparison) -> Table:
    table = _plain_table(HEAD[0], HEAD[1:])
    for tally in result.tallies:
        table.add_row(*tally.cells())
    return table


def _found(result: Comparison) -> Table:
    names = (
        "A",
        "B",
        "matched",
        "lost",
        "extra",
        "score shift, mean",
        "mean |…|",
        "largest",
        "IoU, least",
    )
    table = _plain_table("detections", names)
    d = detections(result)
    shares = "" if d["matched_share"] is None else f" ({d['matched_share']:.1%})"
    some = d["matched"] > 0
    table.add_row(
        f"{d['pictures']} picture{'s' if d['pictures'] > 1 else ''}",
        str(d["a"]),
        str(d["b"]),
        f"{d['matched']}{shares}",
        str(d["lost"]),
        str(d["extra"]),
        f"{round(d['score_shift_mean'], 4) + 0.0:+.4f}" if some else "–",
        f"{d['score_shift_mean_absolute']:.4f}" if some else "–",
        f"{d['score_shift_largest']:.4f}" if some else "–",
        f"{d['iou_least']:.4f}" if some else "–",
    )
    return table


def _worst(result: Comparison) -> list[str]:
    """The pictures with most lost and extra detections."""
    worst = sorted(result.found, key=lambda one: -len(one.lost) - len(one.extra))[:WORST]
    return [
        f"  {one.picture}: {len(one.lost)} lost, {len(one.extra)} extra, {len(one.iou)} matched"
        for one in worst
        if one.lost or one.extra
    ]
