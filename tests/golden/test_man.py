"""The man page is made from the commands: each with all its arguments and options, and each of these says what it does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from infra.cli.app import app
from tests.command import SCRIPT, Dynoctl

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs/dynoctl.1"
ROOT_COMMAND: Any = typer.main.get_command(app)

HEAD = """\
.\\" Made from the commands: DYNOCTL_GOLDEN=write pytest tests/golden/test_man.py
.TH DYNOCTL 1 "" "dynoctl" "User Commands"
.SH NAME
dynoctl \\- Rack apps as dynos on servers you own
.SH SYNOPSIS
.B dynoctl
.I command
[options]
.SH DESCRIPTION
A dyno.yaml names a Rack app, its layers, the number of its dynos and the servers they run on. dynoctl compares it with
the live servers over SSH, shows the difference as a plan and applies it. Nothing is installed on the servers beyond
what the plan shows.
.SH COMMANDS
"""
FOOT = """\
.SH EXIT STATUS
.TP
.B 0
Done, or nothing to do.
.TP
.B 1
An error, including a stale plan, a lock that is taken and a failed check.
.TP
.B 2
Changes are pending (with \\-\\-detailed\\-exitcode).
.TP
.B 3
The manifest is invalid.
.TP
.B 4
A server could not be reached.
.TP
.B 5
A release was rejected, or a rollout failed and was reverted.
.SH FILES
.TP
.I dyno.yaml
The manifest. With \\-d NAME, the overlay
.I dyno.NAME.yaml
is applied to it.
.TP
.I .dyno/secrets
Values for from_env that the environment does not set. Mode 0600, not in git.
.SH ENVIRONMENT
.TP
.B NO_COLOR
If set, output has no colour and no spinner.
.TP
.B DYNOCTL_EXTENDS_FROM
Directories outside of the repository that extends may read from, separated by colons.
.TP
.B DYNOCTL_DEBUG
If set, print a traceback for an internal error.
"""


def commands(group: Any = ROOT_COMMAND, path: tuple[str, ...] = ("dynoctl",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words, in the order in which --help lists them."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if getattr(command, "commands", None) is None or command.invoke_without_command:
            yield (*path, name), command
        if getattr(command, "commands", None) is not None:
            yield from commands(command, (*path, name))


def roff(text: str) -> str:
    text = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith(".") else text


def words(parameter: Any) -> str:
    """A parameter as it is written on the command line: ``--file, -f PATH``."""
    names = ", ".join(f"\\fB{roff(name)}\\fR" for name in [*parameter.opts, *parameter.secondary_opts])
    takes = "" if parameter.is_flag else f" \\fI{roff(parameter.metavar or parameter.type.name.upper())}\\fR"
    return names + takes


def described(parameter: Any) -> str:
    """The help of a parameter as sentences, with its default."""
    shown = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
    if shown in (None, "") or isinstance(shown, bool) or callable(shown):
        return f"{parameter.help}."
    return f"{parameter.help}. Default: {shown}."


def man() -> str:
    lines = [HEAD]
    for path, command in commands():
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        takes = " ".join(
            f"[{argument.metavar or argument.name.upper()}]"
            if not argument.required
            else argument.metavar or argument.name.upper()
            for argument in arguments
        )
        lines.append(f".SS {roff(' '.join([*path[1:], takes]))}\n{roff(command.help)}\n")
        lines += [f".PP\n.B {roff(line)}\n" for line in (command.epilog or "").splitlines()]
        lines += [
            f".TP\n.I {roff(argument.metavar or argument.name.upper())}\n{roff(described(argument))}\n"
            for argument in arguments
        ]
        lines += [
            f".TP\n{words(param)}\n{roff(described(param))}\n"
            for param in command.params
            if param.param_type_name == "option" and param.name != "help"
        ]
    return "".join([*lines, FOOT])


def test_the_man_page_is_made_from_the_commands() -> None:
    if os.environ.get("DYNOCTL_GOLDEN") == "write":
        FILE.write_text(man())
    assert FILE.read_text() == man(), "stale: DYNOCTL_GOLDEN=write pytest tests/golden/test_man.py"


@pytest.mark.skipif(shutil.which("groff") is None, reason="only a formatter can tell whether it formats")
def test_the_man_page_formats() -> None:
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", FILE], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_every_argument_and_option_says_what_it_does(path: tuple[str, ...]) -> None:
    command = next(command for here, command in commands() if here == path)
    assert command.help
    for parameter in command.params:
        text = getattr(parameter, "help", None)
        assert text, f"{' '.join(path)}: {parameter.name} says nothing"
        assert len(text) < 80 and not text.endswith("."), f"{' '.join(path)} {parameter.name}: {text}"


def test_a_shell_is_taught_the_commands(tmp_path: Path, dynoctl: Dynoctl) -> None:
    scripts = {shell: dynoctl.text("completion", shell, cwd=tmp_path).stdout for shell in ("bash", "zsh", "fish")}
    (tmp_path / "script").write_text(scripts["bash"])
    ask = f"""
source {tmp_path}/script
PATH={SCRIPT.parent}:$PATH
words() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _dynoctl_completion dynoctl; echo "${{COMPREPLY[@]}}"; }}
words dynoctl pl
words dynoctl releases sh
words dynoctl plan --ht
"""
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["plan", "show", "--html"], done.stderr
    assert all("dynoctl" in scripts[shell] for shell in ("zsh", "fish"))
