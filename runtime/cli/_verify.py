"""What `npud verify` prints: tables and a sentence for people."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.cli._table import printable
from runtime.golden.reference import Reference
from runtime.golden.tensors import Statistics
from runtime.golden.verdict import Figures, Verdict
from runtime.models.manifest import Golden

WIDTH = 80
STYLES = {"ok": "green", "degraded": "bold yellow", "dead": "bold red"}


def as_text(
    model: str,
    backend: str,
    limits: Golden,
    verdicts: Mapping[str, tuple[Reference, Verdict]],
) -> str:
    """The whole page, in colour where click lets it through."""
    page = Console(file=io.StringIO(), width=WIDTH, highlight=False, force_terminal=True)
    page.print(Text(printable(f"{model} · {backend}"), "bold"))
    for name, (sample, verdict) in verdicts.items():
        meta = sample.meta
        title = f"golden {name}: {meta.width}×{meta.height}, reference {meta.model}"
        page.print()
        page.print(Text(printable(title)))
        for table in (_figures(verdict.figures, limits), _outputs(verdict.figures)):
            page.print()
            page.print(table)
        page.print()
        page.print(*_sentence(verdict), sep="\n")
    assert isinstance(page.file, io.StringIO)  # noqa: S101 - for the type checker
    return page.file.getvalue()


def _figures(f: Figures, limits: Golden) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("", no_wrap=True)
    for title in ("reference", "now", "limit"):
        table.add_column(title, justify="right", no_wrap=True)
    most = limits.max_extra * f.reference
    rows = [
        ("detections", f"{f.reference}", f"{f.found}", ""),
        ("  found again", "", f"{f.matched}", f"≥ {math.ceil(limits.min_matched * f.reference)}"),
        ("    below the threshold", "", f"{f.weaker}", ""),
        ("  not in the reference", "", f"{f.extra}", f"≤ {math.floor(most)}"),
        (
            "highest class logit",
            f"{f.reference_peak:.2f}",
            f"{f.peak:.2f}",
            f"-{limits.max_logit:g} … +{2 * limits.max_logit:g}",
        ),
    ]
    if f.matched:
        shift = f"{f.score_shift:+.3f}"
        rows.append(("score, on average", "", shift, f"± {limits.max_score_shift:g}"))
        rows.append(("IoU, on average", "", f"{f.iou:.3f}", ""))
    good = (
        True,
        f.matched >= limits.min_matched * f.reference,
        True,
        f.extra <= most,
        -limits.max_logit <= f.peak_shift <= 2 * limits.max_logit,
        abs(f.score_shift) <= limits.max_score_shift,
        True,
    )
    for row, fine in zip(rows, good):
        table.add_row(*row[:2], Text(row[2], "" if fine else "red"), row[3])
    return table


def _outputs(f: Figures) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("output", no_wrap=True)
    for title in ("reference", "now", "cosine"):
        table.add_column(title, justify="right", no_wrap=True)
    for output in f.outputs:
        cosine = "–" if output.cosine is None else f"{output.cosine:.4f}"
        table.add_row(str(output.key), _range(output.reference), _range(output.now), cosine)
    return table


def _range(values: Statistics | None) -> str:
    return f"{values.min:.4g} … {values.max:.4g}" if values else "–"


def _sentence(verdict: Verdict) -> list[Text]:
    notes = [Text(printable(f"note: {note}"), "dim") for note in verdict.notes]
    level = Text(verdict.level, STYLES[verdict.level])
    if verdict.healthy:
        return [*notes, level.append(": it finds what the reference has", "")]
    line = level.append(printable(f": {verdict.reason}"), "")
    return [*notes, line, Text(printable(f"→ {verdict.remedy}"))]
