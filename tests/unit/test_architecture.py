"""The house's rules, checked: one way of imports, pure rooms, small rooms, one place that quotes shell."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path for package in ("infra", "providers", "stacks", "schemas") for path in (ROOT / package).rglob("*.py")
)
IO = {"paramiko", "fabric", "subprocess", "socket", "os", "pathlib", "shutil", "requests", "urllib.request"}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def calls(path: Path) -> set[str]:
    """The plain names that a module calls."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module(path: Path) -> None:
    used = imports(path)
    where = name(path)
    text = path.read_text()
    package = where.split("/")[0]
    if package == "infra" and where != "infra/registry.py":
        assert not {one for one in used if one.split(".")[0] in ("providers", "stacks")}, "only the registry knows them"
    if package in ("providers", "stacks"):
        assert not used & IO, "this room is pure"
    if not where.startswith(("infra/remote", "infra/lab")):
        assert not used & {"paramiko", "fabric", "shlex"}, "only infra/remote talks SSH and quotes shell"
    if not where.startswith(("infra/cli", "infra/views")):
        assert "print" not in calls(path), "only infra/cli prints"
    assert len(text.splitlines()) <= 320, "this room wants to be two"
    assert ast.get_docstring(ast.parse(text)), "its first line says why it exists"
    assert "shell=True" not in text
    assert "AutoAddPolicy" not in text
