"""The threat model says which test shows each of its lines, and that test exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md")))
MODEL = ROOT / "docs/explanation/security.md"
NAMED = re.compile(r"`(tests/[a-z_/]+\.(?:py|rb))(?:::(\w+))?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_is_named_exists(page: Path) -> None:
    for file, test in NAMED.findall(page.read_text()):
        path = ROOT / file
        assert path.is_file(), f"{page.name} names {file}"
        if test:
            names = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
            assert test in names, f"{page.name} names {file}::{test}"


def test_every_line_of_the_sandbox_names_its_test() -> None:
    rows = [line for line in MODEL.read_text().splitlines() if line.startswith("| ")]
    heads = {number: row for number, row in enumerate(rows) if row.endswith("| shown by |")}
    assert len(heads) == 3
    tables = [number for number, row in enumerate(rows) if row.endswith("| shown by |") or row.startswith("| who ")]
    for head in heads:
        end = min((number for number in tables if number > head), default=len(rows))
        for row in rows[head + 1 : end]:
            cells = row.strip("|").split(" | ")
            assert len(cells) == 3 and NAMED.search(cells[2]), row
    sandbox = [row for row in rows if "::" in row]
    assert len(sandbox) >= 25, "the lines about a dyno name a function each"
