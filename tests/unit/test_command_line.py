"""What is typed is answered before the parser: words and spellings of other tools, and the habits that are honoured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from infra.cli import durations, words
from infra.cli.app import MODULES, _needed, app, commands
from infra.cli.command_line import NEVER, read
from infra.cli.fail import asks_json, streams_json
from infra.cli.plan import _next
from infra.cli.scale import wanted
from infra.errors import DynoctlError

ROOT: Any = typer.main.get_command(app)


def refused(typed: str) -> DynoctlError:
    with pytest.raises(DynoctlError) as caught:
        read(ROOT, typed.split())
    return caught.value


@pytest.mark.parametrize(
    "typed",
    [
        "plan",
        "plan -f x.yaml -d staging --json",
        "plan --out x.plan",
        "plan -o -out",  # the value of -o, whatever it looks like
        "apply -m -message",
        "plan --help",
        "apply --help",
        "logs -n5 -t web",
        "releases -n 5",
        "releases show v7 -d staging",
        "run -e A=1 bash -lc x --app",  # all after bash is bash's
        "run -- -x",
        "lab exec grid-1 -- ls -la",
        "config",
        "config get A",
        "scale web-1 worker+1",
        "help config set",
        "--version",
    ],
)
def test_a_right_command_line_is_left_as_it_is(typed: str) -> None:
    assert read(ROOT, typed.split()) == typed.split()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("logs -f", "logs --follow"),
        ("logs -f -n 5", "logs --follow -n 5"),
        ("logs -n 5 -f", "logs -n 5 --follow"),
        ("logs -fn 5", "logs --follow -n 5"),
        ("logs -f prod.yaml", "logs -f prod.yaml"),
        ("logs -f prod/dyno.yaml -f", "logs -f prod/dyno.yaml --follow"),
        ("logs -d web.1", "logs --dyno web.1"),
        ("logs -d run.482913", "logs --dyno run.482913"),
        ("logs -d staging", "logs -d staging"),
    ],
)
def test_habits_of_logs_are_honoured(typed: str, meant: str) -> None:
    assert read(ROOT, typed.split()) == meant.split()


def test_one_short_letter_means_the_same_in_all_commands() -> None:
    """-t names what is selected: of logs a process type, elsewhere also a server or a dyno."""
    meanings: dict[str, set[str]] = {}
    for command in ROOT.commands.values():
        for inner in (command, *getattr(command, "commands", {}).values()):
            for parameter in inner.params:
                short = [name for name in parameter.opts if len(name) == 2]
                long = [name for name in parameter.opts if name.startswith("--")]
                for name in short:
                    meanings.setdefault(name, set()).update(long)
    assert {name: long for name, long in meanings.items() if len(long) > 1} == {"-t": {"--target", "--type"}}


@pytest.mark.parametrize(
    "word", ["destory", "dstroy", "destro", "destoy", "destroyed", "rm", "down", "delete", "remove"]
)
def test_destroy_is_suggested_for_no_other_word(word: str) -> None:
    assert NEVER not in refused(word).hint


def test_destroy_is_in_no_answer_but_to_who_typed_it() -> None:
    for table in ("commands", "options", "options_of"):
        for word, answer in words.load(table).items():
            assert NEVER not in answer or NEVER in word, word


@pytest.mark.parametrize("table", ["commands", "options", "options_of"])
def test_no_word_of_another_tool_is_one_of_ours(table: str) -> None:
    """It would never be looked up."""
    for word in words.load(table):
        assert word not in ROOT.commands
        command, _, option = word.partition(" ")
        if table == "options_of":
            assert option not in {name for one in ROOT.commands[command].params for name in one.opts}, word


def test_a_value_on_the_command_line_is_not_repeated() -> None:
    for typed in ("config:set API_KEY=hunter2", "config API_KEY=hunter2", "env set API_KEY=hunter2"):
        error = refused(typed)
        assert "hunter2" not in error.summary + error.hint


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("plan -refresh=false", "leave it out"),
        ("plan -lock-timeout=3", "--lock-timeout is an option of dynoctl apply"),
        ("apply -lock-timeout=10m", "dynoctl apply --lock-timeout 10m"),
        ("ps -help", "dynoctl ps --help"),
        ("plan -x", "dynoctl plan --help lists the options"),
        ("ps -x", "available: --file, --destination, --verbose, --workers, --controllers, --json"),
        ("lock acquire", "dynoctl apply"),
        ("config unst LOG_LEVEL", "did you mean dynoctl config unset?"),
        ("config sett LOG_LEVEL=debug", "did you mean dynoctl config set?"),
        ("config SET", "dynoctl config get SET"),
        ("releases info v3", "dynoctl releases show v3"),
        ("lab start", "dynoctl lab up"),
        ("maintenance:foo", "dynoctl maintenance --help"),
        ("logs -f web", "dynoctl logs --follow --type web"),
        ("help frobnicate", ""),
    ],
)
def test_hints(typed: str, hint: str) -> None:
    if not hint:
        assert read(ROOT, typed.split()) == typed.split()
        return
    assert hint in refused(typed).hint


@pytest.mark.parametrize(
    ("typed", "counts"),
    [
        (["web", "3"], {"web": 3}),
        (["web:3"], {"web": 3}),
        (["web", "=", "3", "worker+1"], {"web": 3, "worker": 2}),
        (["web=3", "worker", "2"], {"web": 3, "worker": 2}),
    ],
)
def test_counts_are_read_as_they_are_meant(typed: list[str], counts: dict[str, int]) -> None:
    assert wanted(typed, {"web": 4, "worker": 1}) == counts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("500ms", 0.5),
        ("2d", 172800),
        ("2.5", 2.5),
    ]
    + [(text, None) for text in ("", "m", "soon", "-1", "10 m s", "1e9", "10x")],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert durations.seconds(text) == seconds


def test_a_duration_has_limits() -> None:
    parse = durations.option("--interval", 0.5, 60)
    assert parse("1m") == 60
    for text in ("0", "2m", "x"):
        with pytest.raises(DynoctlError, match="invalid duration for --interval"):
            parse(text)


def test_which_command_lines_ask_for_json() -> None:
    assert asks_json(["plan", "--json"])
    assert not asks_json(["plan"])
    assert not asks_json(["run", "ls", "--json"])
    assert not asks_json(["lab", "exec", "grid-1", "--", "ls", "--json"])
    assert streams_json(["apply", "--json"])
    assert not streams_json(["plan", "--json"])


def test_each_command_is_found_in_the_module_that_is_loaded_for_it() -> None:
    for name, command in ROOT.commands.items():
        needed = _needed([name])
        assert len(needed) == 1 or name == "help", name
        own: Any = typer.main.get_command(commands(needed))
        assert [one.opts for one in own.commands[name].params] == [one.opts for one in command.params]
    assert _needed(["--help"]) == _needed([]) == _needed(["nothing"]) == MODULES


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (("--target", "web.1"), "dynoctl apply --target web.1"),
        (("--destination", "staging", "--rebalance", "--with-changes"), "dynoctl rebalance --destination staging"),
        (("--exclude", "grid-2", "--rebalance"), "save it with --out FILE, then dynoctl apply FILE"),
    ],
)
def test_a_plan_names_a_command_that_applies_it(options: Sequence[str], command: str) -> None:
    found = _next(Path("dyno.yaml"), options)
    assert found.startswith(command)
    undoing = _next(Path("dyno.yaml"), options, undoing=True)
    assert undoing == found or undoing == f"{found} --over-rollback", "apply would refuse to undo a rollback"
    assert ("--over-rollback" in undoing) == found.startswith("dynoctl apply")
    if found.startswith("dynoctl "):
        assert read(ROOT, found.split()[1:])
