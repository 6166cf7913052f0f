"""The help of each command in a terminal of 80 columns: what most people need is seen first."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli.app import app
from infra.cli.grouped_help import ORDER
from tests.golden.test_man import commands

EVERY = {" ".join(path[1:]): command for path, command in commands()}
LONG = [name for name, command in EVERY.items() if len(command.params) > 6]
SCREEN = 24


@cache
def shown(name: str) -> str:
    done = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "80"}, terminal_width=80)
    assert done.exit_code == 0, done.output
    return done.output


def sections(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith(" ") and line.endswith(":"):
            found[line[:-1]] = []
        elif found and line:
            found[[*found][-1]].append(line)
    return found


@pytest.mark.parametrize("name", EVERY)
def test_each_help_fits_its_terminal(name: str) -> None:
    assert all(len(line) <= 80 for line in shown(name).splitlines())
    assert "=x" not in shown(name) and "x>" not in shown(name) and "default: (" not in shown(name)


@pytest.mark.parametrize("name", LONG)
def test_what_most_people_need_is_on_the_first_screen(name: str) -> None:
    text = shown(name)
    assert "Options:" in text.splitlines()[: SCREEN - 2]
    found = sections(text)
    first = [line for line in found["Options"] if line.startswith("  -")]
    assert len(first) <= 10, first
    named = [title for title in found if title in ORDER]
    assert named == sorted(named, key=ORDER.index)
    known = {*ORDER, "Options", "Arguments", "Examples", "Commands"}
    assert known >= found.keys(), found.keys()
    assert len(text.splitlines()) <= 2 * SCREEN


@pytest.mark.parametrize("name", ["plan", "apply", "destroy", "scale", "rollback", "run", "logs", "restart"])
def test_the_long_ones_have_examples(name: str) -> None:
    examples: Any = sections(shown(name))["Examples"]
    assert 1 <= len(examples) <= 3
    assert all(line.split()[:2] == ["dynoctl", name] for line in examples)
