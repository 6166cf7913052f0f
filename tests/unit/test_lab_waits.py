"""No test on servers depends on how fast the machine is: waits are long, end as soon as they may, and none is bare."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import support
from tests.lab.support import WAIT, eventually, let_pass, stays

LAB = Path(__file__).parents[1] / "lab"
TESTS = sorted(LAB.glob("*.py"))

SHORT = {
    ("test_lab.py", "timeout", 0.5): "a connection that a pulled cable never answers",
    ("test_artifacts.py", "wait", 0.02): "how often it looks at the command lines",
    ("test_poison.py", "wait", 0.005): "the pause between two looks of a watcher",
    ("test_layers.py", "seconds", 0.8): "a measurement, which only prints",
    ("test_health_check.py", "timeout", 1): "how long the product waits for an answer, which is to run out",
    ("test_logs.py", "timeout", 8): "a line that must not come again",
    ("test_faults.py", "PATIENCE", 8): "how long the product waits for a heartbeat, which is what is tested",
}
"""Waits that are to run out, and times that are no waits."""

POSITION = {"wait": 0, "join": 0, "settimeout": 0, "create_connection": 1, "urlopen": 2, "get": 3}
"""Where a time limit stands in a call when it has no name."""

WAITING = {"support.py", "terminal.py", "browser.py", "load.py"}
"""What everything else waits with: they alone count down."""

DEADLINES = {"connect_timeout": 10, "healthy_deadline": 20}
"""Keys of a manifest that a slow machine misses, and from when on it does not."""

MISSED = {
    ("test_rollouts.py", "healthy_deadline", 4): "a release that hangs; it is rejected whenever that is over",
    ("test_reports.py", "healthy_deadline", 5): "a dyno that never gets healthy; it fails whenever that is over",
}
"""Deadlines that a test wants to be missed."""


def number(node: ast.AST | None) -> float | None:
    """The value of a literal number."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    return None


def limits(tree: ast.AST) -> Iterator[tuple[int, str, float]]:
    """Every literal time limit: in a call, as a parameter's default, or as a constant that is called so."""
    found: list[tuple[ast.AST, str, ast.AST | None]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            found += [(node, str(word.arg), word.value) for word in node.keywords if word.arg in ("timeout", "seconds")]
            if name in POSITION and len(node.args) > POSITION[name]:
                found.append((node, name, node.args[POSITION[name]]))
        elif isinstance(node, ast.FunctionDef):
            names = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            pairs = [
                *zip(names, node.args.defaults, strict=True),
                *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
            ]
            found += [(node, name.arg, value) for name, value in pairs if name.arg in ("timeout", "seconds")]
        elif isinstance(node, ast.Assign) and isinstance(named := node.targets[0], ast.Name):
            found += [(node, named.id, node.value)] * named.id.endswith(("WAIT", "PATIENCE", "TIMEOUT", "LONGEST"))
    for node, name, value in found:
        if (limit := number(value)) is not None:
            yield getattr(node, "lineno", 0), name, limit


def deadlines(tree: ast.AST) -> Iterator[tuple[int, str, float]]:
    """The product's own deadlines in the manifests of tests."""
    for node in ast.walk(tree):
        pairs: list[tuple[ast.AST | None, ast.AST]] = []
        if isinstance(node, ast.Dict):
            pairs = list(zip(node.keys, node.values, strict=True))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            pairs = [(node.targets[0].slice, node.value)]
        for key, value in pairs:
            if isinstance(key, ast.Constant) and key.value in DEADLINES and (limit := number(value)) is not None:
                yield value.lineno, str(key.value), limit


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_waits(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node, name in calls(tree):
        sleeps = name.rpartition(".")[2] == "sleep"
        assert not sleeps or path.name == "support.py", f"line {node.lineno}: wait with eventually, stays or let_pass"
        if name in ("eventually", "stays", "let_pass"):  # no type checker looks at the tests
            helper = getattr(support, name)
            inspect.signature(helper).bind(*node.args, **{str(word.arg): word.value for word in node.keywords})
    for line, name, limit in limits(tree):
        assert limit >= WAIT or (path.name, name, limit) in SHORT, f"line {line}: {name} {limit} is short on a busy day"
    for line, name, limit in deadlines(tree):
        enough = limit >= DEADLINES[name] or (path.name, name, limit) in MISSED
        assert enough, f"line {line}: a slow machine misses a {name} of {limit} s"
    for node in ast.walk(tree):
        by_hand = (
            isinstance(node, ast.BinOp) and "monotonic()" in ast.unparse(node.left) and isinstance(node.op, ast.Add)
        )
        assert not by_hand or path.name in WAITING, f"line {getattr(node, 'lineno', 0)}: wait with eventually"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("peer.settimeout(5)", 5),
        ("socket.create_connection(address, 20)", 20),
        ("get('host', 80, '/', 2)", 2),
        ("run(argv, timeout=30)", 30),
        ("def end(self, seconds: float = 10): ...", 10),
        ("def end(self, *, seconds: float = 10): ...", 10),
        ("PATIENCE = 30", 30),
    ],
)
def test_what_the_search_finds(text: str, found: float) -> None:
    assert [limit for _, _, limit in limits(ast.parse(text))] == [found]


def test_deadlines_of_manifests_are_found() -> None:
    text = "m['ssh']['connect_timeout'] = 2; m['rollout'] = {'healthy_deadline': 4}"
    assert [(name, limit) for _, name, limit in deadlines(ast.parse(text))] == [
        ("connect_timeout", 2),
        ("healthy_deadline", 4),
    ]


def test_a_wait_ends_as_soon_as_it_may_and_says_what_it_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(support.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(support.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    answers = iter([ConnectionRefusedError(), AssertionError(), KeyError(), "", "there"])

    def look() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert eventually(look) == "there"
    assert now[0] == pytest.approx(0.4)
    with pytest.raises(AssertionError, match=r"not within 60 s: .*eventually\(lambda: False\)\nlast: False"):
        eventually(lambda: False)
    assert now[0] == pytest.approx(WAIT + 0.5, abs=0.3)
    with pytest.raises(TypeError):  # a fault of the test itself is not waited for
        eventually(lambda: len(5))
    with pytest.raises(AssertionError):
        eventually(lambda: True, seconds=5)

    began = now[0]
    stays(lambda: now[0] < began + 100, 2, "nothing happens")
    assert now[0] == pytest.approx(began + 2, abs=0.2)
    with pytest.raises(AssertionError, match="no longer so"):
        stays(lambda: now[0] < began + 3, 2, "something happens")
    with pytest.raises(AssertionError):
        let_pass(1, "")
