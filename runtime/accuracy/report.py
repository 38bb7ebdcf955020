"""Reports as one HTML file each: no script, nothing loaded, light or dark as the reader has it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from npud.errors import ConfigError
from runtime.accuracy import plots
from runtime.accuracy.compare import Comparison
from runtime.accuracy.tally import Limits

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fdfdfe; --first: #2a6fb0;
  --second: #c4572e; --faint: #c9ced6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e6ea; --paper: #15181c; --first: #6aaee8;
  --second: #ef8a5f; --faint: #444b55; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.9rem 0.2rem 0; text-align: right;
  border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; }
.wide { overflow-x: auto; } .plots { display: flex; flex-wrap: wrap;
  gap: 1rem; margin-top: 1rem; }
figure { margin: 0; } figcaption { font-size: 0.9rem; } svg { max-width: 100%; height: auto; }
svg text { font-family: system-ui, sans-serif !important; }
.verdict { font-size: 1.1rem; font-weight: 600; } .bad { color: var(--second); }
"""
WORST = 10
Row = Sequence[object]


def page(title: str, *parts: str) -> str:
    """A whole page of parts that are HTML already."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def table(head: Row, rows: Sequence[Row]) -> str:
    """A table; its cells are text."""
    lines = ["".join(f"<th>{escape(str(cell))}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    return (
        '<div class="wide"><table>'
        + "".join(f"<tr>{line}</tr>\n" for line in lines)
        + "</table></div>"
    )


def pictures(*drawings: tuple[str, object]) -> str:
    """Plots side by side, (caption, figure) each."""
    shown = (
        f"<figure><figcaption>{escape(caption)}</figcaption>{plots.as_svg(drawing)}</figure>"
        for caption, drawing in drawings
    )
    return f'<div class="plots">{"".join(shown)}</div>'


def write_html(path: Path, text: str) -> None:
    """Write a page; raises ConfigError where that is not possible."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot write the report: {error.strerror or error}") from None


def compare_page(result: Comparison, limits: Limits, verdict: str, beyond: Sequence[str]) -> str:
    """The report of `npud compare`."""
    done = " (interrupted: not all pictures)" if result.interrupted else ""
    parts = [
        f"<p><b>A</b> {escape(result.name_a)}: {escape(str(result.plan_a))}<br>"
        f"<b>B</b> {escape(result.name_b)}: {escape(str(result.plan_b))}</p>",
        f'<p class="verdict{" bad" if beyond else ""}">{escape(verdict)}{escape(done)}</p>',
        *(f'<p class="bad">{escape(line)}</p>' for line in beyond),
        *(f"<p>{escape(note)}</p>" for note in result.notes),
        "<h2>Detections</h2>",
        _detections(result),
        pictures(
            ("Scores of both", plots.score_pairs(result)),
            ("Score shift of matched detections", plots.score_shifts(result)),
        ),
    ]  # fmt: skip
    if result.tallies:
        parts += [
            "<h2>Outputs</h2>",
            "<p>A is the reference. Mismatched elements: "
            f"|b − a| &gt; {limits.atol:g} + {limits.rtol:g}·|a|.</p>",
            _outputs(result),
            pictures(("Agreement of outputs", plots.output_agreement(result))),
        ]
    return page(f"{Path(result.name_a).name} and {Path(result.name_b).name}", *parts)


def _outputs(result: Comparison) -> str:
    head = ("output", "cosine", "worst picture", "mismatched", "max |b−a|", "max |b−a|/|a|")
    rows = [
        (
            tally.what,
            f"{tally.cosine:.6f}",
            f"{tally.worst_cosine:.6f}",
            f"{tally.mismatched} ({tally.mismatched_share:.2%})",
            f"{tally.max_absolute:.3g}",
            f"{tally.max_relative:.3g}",
            f"{tally.highest_a:.4g}",
            f"{tally.highest_b:.4g}",
        )
        for tally in result.tallies
    ]
    return table((*head, "highest A", "highest B"), rows)


def _detections(result: Comparison) -> str:
    head = ("picture", "A", "B", "matched", "lost", "extra")
    total: Row = (
        f"all {len(result.found)}",
        *(result.total(name) for name in ("a", "b", "iou", "lost", "extra")),
    )
    worst = sorted(result.found, key=lambda one: -len(one.lost) - len(one.extra))[:WORST]
    rows: list[Row] = [
        (one.picture, one.a, one.b, len(one.iou), len(one.lost), len(one.extra))
        for one in worst
        if one.lost or one.extra
    ]
    return table(head, [total, *rows])
