"""`npud doctor`: whether this machine is ready, and what to do where it is not."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import click

from runtime import doctor
from runtime.cli._table import printable
from runtime.cli.options import build
from runtime.doctor import Machine
from runtime.models.finding import Finding

WIDTH = 80
LEVEL, NAME = 9, 13  # columns
STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command(epilog="Exit code: 0 without problems (warnings are none), 1 with at least one.")
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="TOML configuration.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON object.")
@click.option("--root", type=click.Path(path_type=Path, exists=True), default="/", hidden=True)
def command(path: Path | None, as_json: bool, root: Path) -> None:
    """Look at this machine: NPU, driver, libraries, clocks, memory, cameras, endpoint.

    Nothing is changed, and it says something useful on a laptop too.

    \b
    Examples:
      npud doctor
      npud doctor --config /etc/npud/config.toml
      npud doctor --json | jq '.sections[][] | select(.level != "ok")'
    """
    config = build(path, {})
    model = Path(config.model.path) if config.model.path else None
    machine = doctor.machine_at(root, config.publish.endpoint, model)
    results = doctor.examine(machine)
    click.echo(json.dumps(_json(machine, results), indent=1) if as_json else _text(results))
    if _count(results, "problem"):
        raise SystemExit(1)


def _json(machine: Machine, results: dict[str, list[Finding]]) -> dict[str, Any]:
    return {
        "platform": vars(machine.platform),
        "sections": {title: [vars(f) for f in found] for title, found in results.items()},
        "problems": _count(results, "problem"),
        "warnings": _count(results, "warning"),
    }


def _text(results: dict[str, list[Finding]]) -> str:
    lines = []
    for title, findings in results.items():
        lines += [click.style(title, bold=True)] if findings else []
        for finding in findings:
            lines += _lines(finding)
        lines += [""] if findings else []
    warnings, problems = _count(results, "warning"), _count(results, "problem")
    if not warnings and not problems:
        return "\n".join([*lines, click.style("all is well", fg="green")])
    parts = [_plural(problems, "problem"), _plural(warnings, "warning")]
    return "\n".join([*lines, ", ".join(part for part in parts if part)])


def _lines(finding: Finding) -> list[str]:
    indent = " " * (2 + LEVEL + NAME)
    room = WIDTH - len(indent)
    first, *rest = textwrap.wrap(printable(finding.text), room) or [""]
    mark = click.style(f"{finding.level:<{LEVEL}}", fg=STYLES[finding.level])
    lines = [f"  {mark}{printable(finding.name):<{NAME}}{first}", *(indent + line for line in rest)]
    if finding.remedy:
        wrapped = textwrap.wrap(printable(finding.remedy), room - 2)
        lines += [f"{indent}{'→ ' if i == 0 else '  '}{line}" for i, line in enumerate(wrapped)]
    return lines


def _plural(count: int, word: str) -> str:
    return "" if not count else f"{count} {word}" + ("" if count == 1 else "s")


def _count(results: dict[str, list[Finding]], level: str) -> int:
    return sum(finding.level == level for found in results.values() for finding in found)
