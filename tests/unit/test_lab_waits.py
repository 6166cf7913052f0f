"""No test on servers depends on how fast the machine is: waits are long, end as soon as they may, and none is bare."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.lab.support import WAIT

LAB = Path(__file__).parents[1] / "lab"
TESTS = sorted(LAB.glob("*.py"))

SHORT = {
    ("test_lab.py", 0.5): "a connection that a pulled cable never answers",
    ("test_poison.py", 0.005): "the pause between two looks of a watcher",
}
"""Waits that are to run out, with their reasons."""


def limits(call: ast.Call) -> list[float]:
    """The literal time limits in a call: ``timeout=`` and the first argument of ``wait`` and ``settimeout``."""
    found = [word.value for word in call.keywords if word.arg == "timeout"]
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("wait", "settimeout", "join"):
        found += call.args
    return [value.value for value in found if isinstance(value, ast.Constant) and isinstance(value.value, int | float)]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_waits(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        sleeps = ast.unparse(node.func) in ("time.sleep", "sleep")
        assert not sleeps or path.name == "support.py", f"line {node.lineno}: wait with eventually, or let_pass"
        for limit in limits(node):
            assert limit >= WAIT or (path.name, limit) in SHORT, f"line {node.lineno}: {limit} s is short on a busy day"
