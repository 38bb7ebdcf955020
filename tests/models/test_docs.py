"""docs/model-files.md says what the code does."""

from __future__ import annotations

import ast
import inspect

from runtime.models import bounds, evidence, findings, rknn, score_findings, versions
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "model-files.md").read_text()


def test_the_bounds_on_the_page_are_the_codes() -> None:
    for name, bound in vars(bounds).items():
        if name.startswith("MAX_") and name not in ("MAX_DIMENSIONS", "MAX_SIDE"):
            assert f"{bound:,}" in PAGE, name
    assert f"{bounds.MAX_DIMENSIONS} dimensions of up to 2³¹-1" in PAGE
    assert bounds.MAX_SIDE == 2**31 - 1


def test_versions_on_the_page_are_the_codes() -> None:
    for known in versions.KNOWN.values():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| {known.toolkit} |"))
        assert known.oldest in row
        assert known.newest in row


def test_every_finding_and_every_operation_is_on_the_page() -> None:
    names = set()
    for module in (findings, score_findings):
        for call in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Finding":
                names.add(ast.literal_eval(call.args[0]))
    assert len(names) == len(findings.CHECKS)
    assert {f"| `{name}` |" for name in names} <= {
        line[: line.find("|", 2) + 1] for line in PAGE.splitlines()
    }
    for op in (*evidence.LAST_OPS, *(f"{number} {name}" for number, name in rknn.BYTES.items())):
        assert op in PAGE, op
