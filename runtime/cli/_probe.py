"""What `npud probe` prints: tables and sentences for people, one object for programs."""

from __future__ import annotations

import dataclasses
import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.cli._table import printable
from runtime.golden.verdict import number
from runtime.models.finding import Finding
from runtime.probe.bench import Trial
from runtime.probe.outputs import Row
from runtime.probe.probe import Report
from runtime.probe.verdict import Judged

WIDTH = 100
BLOCKS = " ▁▂▃▄▅▆▇█"
STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
MOST_TRIED = 8  # rows of the table of what was tried


def as_text(report: Report) -> str:
    """The whole page, in colour where click lets it through."""
    page = _page()
    page.print(Text(printable(f"{report.model} · {report.backend}"), "bold"))
    page.print(Text(printable(report.head)))
    page.print()
    page.print(_rows(report.rows))
    if report.judged is not None and report.judged.tried:
        page.print()
        page.print(_tried(report.judged))
    page.print()
    page.print(Text(printable(f"judged by {report.judged_by}"), "dim"))
    if report.cause is None:
        page.print(_healthy(report))
    _print_findings(page, report.findings)
    return _text(page)


def ranges_as_text(findings: Sequence[Finding]) -> str:
    """Findings of --range."""
    page = _page()
    _print_findings(page, findings)
    return _text(page)


def _page() -> Console:
    return Console(file=io.StringIO(), width=WIDTH, highlight=False, force_terminal=True)


def _text(page: Console) -> str:
    assert isinstance(page.file, io.StringIO)  # noqa: S101 - for the type checker
    return page.file.getvalue()


def _healthy(report: Report) -> Text:
    line = Text("healthy", "bold green")
    if report.judged is None:
        return line
    count = report.judged.deployed.count
    said = f": {count} detections"
    if report.verdict is not None:
        figures = report.verdict.figures
        said += f", {figures.matched} of the reference's {figures.reference} found again"
    elif not count:
        line = Text("not known to be wrong", "yellow")
    else:
        said += ", and nothing that was tried gives better ones; whether they are right, only a "
        said += "reference tells"
    return line.append(said, "")


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def _rows(rows: Sequence[Row]) -> Table:
    table = _table()
    for title in ("stride", "role", "shape"):
        table.add_column(title, no_wrap=True)
    table.add_column("type", no_wrap=True, overflow="ellipsis", max_width=16)
    for title in ("min", "max", "mean", "above", "σ(max)"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("min … max (log)", no_wrap=True)
    for row in rows:
        low, high, mean, _, odd = row.values
        table.add_row(
            str(row.stride or "–"),
            row.role,
            f"{'×'.join(map(str, row.shape))} {row.layout}",
            row.dtype,
            f"{low:.3g}",
            f"{high:.3g}" + (f", {odd} NaN" if odd else ""),
            f"{mean:.3g}",
            "–" if row.above is None else _percent(row.above),
            "–" if row.top is None else f"{row.top:.3f}",
            Text(_bars(row.histogram), "cyan"),
        )
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _bars(counts: Sequence[int]) -> str:
    """Counts as blocks, on a logarithmic scale: one value is seen beside a million."""
    most = math.log1p(max(counts, default=0)) or 1.0
    return "".join(BLOCKS[math.ceil(8 * math.log1p(count) / most)] for count in counts)


def _tried(judged: Judged) -> Table:
    """What was tried, the best first, below how it is deployed."""
    by_reference = not math.isnan(judged.deployed.close)
    table = _table()
    table.add_column("tried", no_wrap=True, overflow="ellipsis", max_width=40)
    table.add_column("would mean", no_wrap=True)
    for title in ("found", "Σ scores", "agree", "as ref.", "mirrored"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_row("as deployed", "", *_figures(judged.deployed), style="bold")
    ordered = sorted(
        judged.tried,
        key=lambda one: -(one.trial.close if by_reference else _plausible(one.trial)),
    )
    for one in ordered[:MOST_TRIED]:
        h = one.hypothesis
        table.add_row(f"{h.side}: {h.tried}", h.cause, *_figures(one.trial))
    if len(ordered) > MOST_TRIED:
        table.add_row(Text(f"and {len(ordered) - MOST_TRIED} others", "dim"))
    return table


def _plausible(trial: Trial) -> float:
    return trial.mass * (0.5 + trial.tight) if trial.share < 0.1 else 0.0


def _figures(trial: Trial) -> tuple[str, ...]:
    return (
        str(trial.count),
        f"{trial.mass:.1f}",
        f"{trial.tight:.2f}",
        "–" if math.isnan(trial.close) else f"{trial.close:.2f}",
        "–" if math.isnan(trial.repeated) else f"{trial.repeated:.2f}",
    )


def _print_findings(page: Console, findings: Sequence[Finding]) -> None:
    for finding in findings:
        head = f"{finding.level} {finding.name}: "
        first, *rest = textwrap.wrap(printable(head + finding.text), WIDTH)
        line = Text(first)
        line.stylize(STYLES[finding.level], 0, len(head) - 2)
        page.print(line, soft_wrap=True)
        for text in rest:
            page.print(Text(f"  {text}"), soft_wrap=True)
        for mark, said in (("→", finding.remedy), ("$", finding.command)):
            for i, text in enumerate(textwrap.wrap(printable(said), WIDTH - 4)):
                page.print(Text(f"  {mark if i == 0 else ' '} {text}"), soft_wrap=True)


def as_json(report: Report) -> dict[str, Any]:
    """Everything that is known, in JSON's types."""
    cause, judged = report.cause, report.judged
    return {
        "model": report.model,
        "backend": report.backend,
        "head": report.head,
        "healthy": cause is None,
        "cause": cause.name if cause else None,
        "judged_by": report.judged_by,
        "golden": report.verdict.level if report.verdict else None,
        "findings": [vars(finding) for finding in report.findings],
        "outputs": [_row(row) for row in report.rows],
        "deployed": _trial(judged.deployed) if judged else None,
        "tried": [
            {
                "cause": one.hypothesis.cause,
                "side": one.hypothesis.side,
                "tried": one.hypothesis.tried,
                **_trial(one.trial),
            }
            for one in (judged.tried if judged else ())
        ],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {key: number(value) for key, value in dataclasses.asdict(trial).items()}


def _row(row: Row) -> dict[str, Any]:
    values = {key: number(value) for key, value in row.values._asdict().items()}
    rest = {f.name: getattr(row, f.name) for f in dataclasses.fields(row) if f.name != "values"}
    return {**rest, **values}
