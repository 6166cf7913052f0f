"""The page of commands is made from the commands themselves, as the man page is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.golden.test_man import commands

FILE = Path(__file__).parents[2] / "docs/reference/commands.md"
HEAD = """\
# Commands

<!-- Generated: DYNOCTL_GOLDEN=write pytest tests/golden/test_commands_page.py -->

```sh
dynoctl --help
dynoctl plan --help
man dynoctl
```

Results are printed on stdout, progress and notes on stderr. With `--json`, stdout has only JSON.

## Exit codes

| code | meaning |
|---|---|
| 0 | success, or nothing to do |
| 1 | an error: wrong usage, a stale plan, a held lock, a failed check |
| 2 | changes are pending (only with `--detailed-exitcode`) |
| 3 | the manifest is invalid |
| 4 | a server is unreachable; has priority over 2 |
| 5 | a release was rejected, or a rollout failed and was reverted: what ran before keeps running |

`dynoctl run` exits with [the status of its command](../how-to/run-commands.md#exit-status), and Ctrl-C in `dynoctl logs` with 130.

## Environment variables

| variable | effect |
|---|---|
| `NO_COLOR` | no colour and no spinner |
| `DYNOCTL_EXTENDS_FROM` | directories outside of the repository that `extends` may read from, separated by colons |
| `DYNOCTL_WORKERS` | default of `--workers`, for all commands that plan |
| `DYNOCTL_CONTROLLERS` | default of `--controllers` |
| `DYNOCTL_DEBUG` | show the traceback of an unexpected failure |

## Overview
"""


def cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def anchor(name: str) -> str:
    return name.replace(" ", "-")


def spelling(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    kind = option.type.name.upper().removesuffix(" RANGE")
    return f"{names} {option.metavar or {'INT': 'N', 'INTEGER': 'N', 'FLOAT': 'N', 'STR': 'TEXT'}.get(kind, kind)}"


def described(parameter: Any) -> str:
    """The help of an argument or option as sentences, with its default."""
    text = f"{cell(parameter.help).rstrip('.')}."
    shown = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
    if parameter.param_type_name == "argument" and not isinstance(shown, str):
        return text
    if shown in (None, "", ()) or isinstance(shown, bool) or callable(shown) or "[default:" in text:
        return text
    return f"{text} Default: {cell(str(shown))}."


def section(name: str, command: Any) -> Iterator[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and param.name != "help"]
    takes = [argument.metavar or argument.name.upper() for argument in arguments]
    words = [text if one.required else f"[{text}]" for one, text in zip(arguments, takes, strict=True)]
    yield f"\n## {name}\n"
    yield f"`{' '.join(['dynoctl', name, *words])}`\n"
    yield cell(command.help)
    if command.epilog:
        yield f"\n```sh\n{command.epilog}\n```"
    if arguments or options:
        yield "\n| argument, option | meaning |\n|---|---|"
    for one, text in zip(arguments, takes, strict=True):
        yield f"| {cell(text)} | {described(one)} |"
    for option in options:
        yield f"| {cell(spelling(option))} | {described(option)} |"


def page() -> str:
    every = [(" ".join(path[1:]), command) for path, command in commands()]
    lines = [HEAD, "| command | what it does |", "|---|---|"]
    for name, command in every:
        lines.append(
            f"| [`dynoctl {name}`](#{anchor(name)}) | {cell(command.short_help or command.help).split('. ')[0].rstrip('.')} |"
        )
    for name, command in every:
        lines += section(name, command)
    return "\n".join(lines) + "\n"


def test_the_page_is_made_from_the_commands() -> None:
    if os.environ.get("DYNOCTL_GOLDEN") == "write":
        FILE.write_text(page())
    assert FILE.read_text() == page(), "stale: DYNOCTL_GOLDEN=write pytest tests/golden/test_commands_page.py"
