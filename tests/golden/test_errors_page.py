"""The page of errors is made from the places in the code that raise them: each message with its cure."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs/reference/errors.md"

HEAD = """\
# Errors

<!-- Generated: DYNOCTL_GOLDEN=write pytest tests/golden/test_errors_page.py -->

```console
$ dynoctl scale web
error: invalid count: 'web'
hint: such as dynoctl scale web=6, web+1 or web-1
```

The first line is the cause and names what it is about. For a manifest, the file, line and column and the line itself follow. The
last one is the cure. On this page, WORDS IN CAPITALS stand for what a message names, and `...` for a list or the words of another
program. A message without a cure here has one that depends on the case, or says all in its first line.

With `--json`, an error is an object with `summary` and `hint`. [Exit codes](commands.md#exit-codes) tell kinds of errors apart.
"""

PARTS = {
    "Command line": ("infra/cli",),
    "dyno.yaml": ("infra/errors.py", "infra/manifest", "stacks", "infra/registry.py"),
    "Source, build and slug": ("infra/slug", "infra/artifacts"),
    "Connections and logins": ("infra/remote",),
    "Servers": ("infra/fleet", "infra/model", "providers"),
    "Plan": ("infra/plan", "infra/views"),
    "Apply, scale, restart and destroy": ("infra/engine",),
    "Releases and records": ("infra/state",),
    "Logs, one-off dynos, init and maintenance": ("infra/ops",),
    "The lab": ("infra/lab",),
}
"""The parts of the page, and where their errors come from."""

ERRORS = dict.fromkeys(("Diagnostic", "diagnostic", "at", "unusable", "_at_name"), ("hint", "expected"))
"""By function that makes a diagnostic, the keywords of the cure; its message is the first text of its arguments."""

DEPENDS = "(see the message)"

NAMES = {
    "STRERROR": "REASON",
    "SUMMARY": "REASON",
    "WHY": "REASON",
    "LOST": "REASON",
    "SELF": "SERVER",
    "SESSION": "SERVER",
    "TARGET": "SERVER",
}
"""Words that say more to a reader than those of the code."""


def errors() -> set[str]:
    """The names of the classes of errors."""
    found, bases = {"DynoctlError"}, {}
    for module in modules().values():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
    while more := {name for name, those in bases.items() if those & found} - found:
        found |= more
    return found


@cache
def modules() -> dict[str, ast.Module]:
    files = sorted(path for package in ("infra", "providers", "stacks") for path in (ROOT / package).rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in files}


def text(node: ast.expr, known: dict[str, ast.expr]) -> str | None:
    """The text of an expression, with words in capitals for values; None if it is not known here."""
    match node:
        case ast.Constant(value=str(words)):
            return words
        case ast.FormattedValue(value=ast.Name(id=name)) if name.isupper() and isinstance(
            known.get(name), ast.Constant
        ):
            return str(known[name].value)  # type: ignore[attr-defined]  # a limit, such as MOST = 40
        case ast.JoinedStr(values=parts):
            return "".join(text(part, known) or "..." for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)) if name in known and (found := inner(name, known)):
            return found
        case ast.FormattedValue(value=ast.Attribute(value=ast.Name(id="self"), attr=name)) if f"self.{name}" in known:
            return inner(f"self.{name}", known) or placeholder(node.value)
        case ast.FormattedValue(value=ast.IfExp() | ast.BoolOp() as choice):
            return text(choice, known) or "..."
        case ast.FormattedValue(value=value):
            return placeholder(value)
        case ast.BoolOp(values=values):
            return " or ".join(text(one, known) or placeholder(one) for one in values)
        case ast.IfExp(body=body, orelse=orelse):
            both = [found for one in (body, orelse) if (found := text(one, known))]
            return " or ".join(both) or None
        case ast.Name(id=name) if name in known:
            return inner(name, known)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (text(left, known) or "...") + (text(right, known) or "...")
    return None


def inner(name: str, known: dict[str, ast.expr]) -> str | None:
    """The text that a name has."""
    return text(known[name], {other: value for other, value in known.items() if other != name})


def placeholder(node: ast.expr) -> str:
    word: str
    match node:
        case ast.Name():
            word = node.id
        case ast.Attribute(value=value, attr="name" | "value" | "address" | "id"):
            return placeholder(value)
        case ast.Attribute():
            word = node.attr
        case ast.BinOp():
            word = "N"
        case _:
            return "..."
    word = word.strip("_").upper().replace("_", "-")
    return NAMES.get(word, word)


class Collector(ast.NodeVisitor):
    """The messages of one module with their cures. ``known`` are the texts that names have there."""

    def __init__(self, classes: set[str], module: ast.Module) -> None:
        self.found: list[tuple[str, str]] = []
        self._classes = classes
        self._known = assigned(module.body)
        self._class = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self._known
        self._known = outer | assigned([one for one in ast.walk(node) if isinstance(one, ast.stmt)])
        self.generic_visit(node)
        self._known = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._class = node.name
        self.generic_visit(node)
        self._class = ""

    def visit_Call(self, node: ast.Call) -> None:
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name == "__init__" and self._class in self._classes:
            name = self._class  # such an error makes its message itself
        if name in self._classes or name in ERRORS:
            words = [found for one in node.args if (found := text(one, self._known)) is not None]
            given = {keyword.arg: text(keyword.value, self._known) for keyword in node.keywords}
            cure = next((given[key] for key in ERRORS.get(name, ("hint",)) if given.get(key)), None)
            has = any(keyword.arg in ERRORS.get(name, ()) for keyword in node.keywords)
            if name in self._classes and len(node.args) > 1:
                cure, has = text(node.args[1], self._known), True
                words = words[:1] if text(node.args[0], self._known) else []
            if words and len(re.findall(r"[a-z]{2,}", words[0])) > 1:
                self.found.append((words[0], cure or (DEPENDS if has else "")))
        self.generic_visit(node)


def assigned(body: list[ast.stmt]) -> dict[str, ast.expr]:
    """The names that are assigned once, to a text."""
    found: dict[str, list[ast.expr]] = {}
    for statement in body:
        for target in statement.targets if isinstance(statement, ast.Assign) else ():
            if isinstance(target, ast.Name | ast.Attribute) and isinstance(statement, ast.Assign):
                name = target.id if isinstance(target, ast.Name) else f"self.{target.attr}"
                found.setdefault(name, []).append(statement.value)
    return {
        name: values[0]
        for name, values in found.items()
        if len(values) == 1 and isinstance(values[0], ast.Constant | ast.JoinedStr | ast.IfExp | ast.BinOp)
    }


@cache
def collected() -> dict[str, list[tuple[str, str]]]:
    """By part of the page, each message with its cure."""
    classes, found = errors(), {part: set[tuple[str, str]]() for part in PARTS}
    for path, module in modules().items():
        part = next((part for part, places in PARTS.items() if path.startswith(places)), None)
        collector = Collector(classes, module)
        collector.visit(module)
        assert part is not None or not collector.found, f"{path} belongs to no part of the page"
        if part is not None:
            found[part] |= set(collector.found)
    return {part: sorted(rows, key=lambda row: (row[0].lstrip(".'").lower(), row[1])) for part, rows in found.items()}


def cell(words: str) -> str:
    """A text in a cell of a table, as code; of several lines, the first."""
    line = words.strip().splitlines()[0].replace("|", "\\|")
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def page() -> Iterator[str]:
    yield HEAD
    for part, rows in collected().items():
        yield f"## {part}\n"
        yield "| error | cure |\n|---|---|"
        for summary, cure in rows:
            yield f"| {cell(summary)} | {cell(cure) if cure and cure != DEPENDS else cure} |"
        yield ""


def test_the_page_is_made_from_the_code() -> None:
    made = "\n".join(page())
    if os.environ.get("DYNOCTL_GOLDEN") == "write":
        FILE.write_text(made)
    assert FILE.read_text() == made, "stale: DYNOCTL_GOLDEN=write pytest tests/golden/test_errors_page.py"


def test_every_way_to_make_an_error_is_found() -> None:
    """Of each way one that is known, and of most messages the cure."""
    rows = {summary: cure for part in collected().values() for summary, cure in part}
    assert "SERVER: its answer is invalid: REASON" in rows, "a class that makes its message itself"
    assert "SERVER: an apply of APP or another apply is running: HOLDER or unknown holder" in rows
    assert "duplicate server name NAME" in rows, "a diagnostic of a path in dyno.yaml"
    assert rows["no such server: NAME"].startswith("available: ")
    assert len(rows) > 300
    assert sum(bool(cure) for cure in rows.values()) > 0.7 * len(rows)


MUTE = ("COUNT errors in the manifest", "more than 1000 errors, and the others are not shown")
"""Messages that count errors which have cures of their own."""


def test_every_error_of_what_the_user_typed_has_a_cure() -> None:
    parts = re.split(r"^## ", "\n".join(page()), flags=re.MULTILINE)
    typed = [part for part in parts if part.startswith(("Command line\n", "dyno.yaml\n"))]
    lacking = re.findall(r"^\| `(.*)` \|  \|$", "".join(typed), re.MULTILINE)
    assert len(typed) == 2 and [row for row in lacking if row not in MUTE] == []
