"""Checks of what processes are started with that a schema cannot express: their variables and commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path as File
from typing import Any

from infra.errors import Diagnostic
from infra.manifest import masking, variables
from infra.manifest.document import Document, Path, list_of, map_of
from infra.manifest.paths import is_file, resolve_path


def check(document: Document, data: Mapping[str, Any], base: File) -> Iterator[Diagnostic]:
    """Every error in ``env`` and in commands. Values of references are checked when they are read."""
    yield from _environment(document, map_of(data.get("env")))
    source = resolve_path(base, str(map_of(data.get("app")).get("source", ".")))
    for path, command in _commands(data):
        words = command if isinstance(command, list) else [command]
        if not all(isinstance(word, str) for word in words):
            continue  # the schema reports it
        if words and not words[0]:
            yield document.diagnostic(path, "the command has no program", expected="a program, then its arguments")
        elif isinstance(command, list) and words and _is_command_line(words[0], source):
            yield _no_program(document, path, words)
        if problem := variables.command_too_large(command):
            yield document.diagnostic(path, problem, expected=variables.COMMAND_EXPECTED)


def _is_command_line(program: str, source: File) -> bool:
    """Whether the first word of a list is a whole command line, and not a program whose path has a space."""
    return " " in program and not program.startswith("/") and not is_file(source / program)


def _no_program(document: Document, path: Path, words: list[str]) -> Diagnostic:
    shown = f" {words[0]!r}" if len(words[0]) <= 60 and words[0].isprintable() else ""
    # Several command lines, or one that was split in the wrong places.
    line = (" && " if all(" " in word for word in words) else " ").join(word.strip() for word in words)
    return document.diagnostic(
        (*path, 0),
        f"invalid program{shown}: a list is one program and its arguments",
        expected=f"such as [{', '.join(words[0].split()[:3])}]",
        hint=f"for a shell command line, without brackets or a dash: {path[-1]}: {line}"
        if shown and len(line) <= 100
        else "for a shell command line: a text, without brackets or a dash",
    )


def _environment(document: Document, env: Mapping[str, Any]) -> Iterator[Diagnostic]:
    written: dict[str, str] = {}
    for name, value in env.items():
        if masking.shown_of(name):
            continue  # the schema says that it lacks a space
        path = ("env", name)
        reason = variables.refused(name)
        if reason:
            yield document.diagnostic(path, f"{name} cannot be set in env", key=True, hint=reason)
        if value is None:
            hint = _unquoted(document, path)
            yield document.diagnostic(
                path, f"missing value for {name}", key=True, expected='a value, or "" for an empty one', hint=hint
            )
        if isinstance(value, dict | list | None):
            continue
        written[name] = str(value)
        if problem := variables.too_large(name, written[name]):
            yield document.diagnostic(path, problem, key=True, expected=variables.ONE_EXPECTED)
    if problem := variables.too_many(written):
        yield document.diagnostic(("env",), problem, key=True, expected=variables.ALL_EXPECTED)


def _unquoted(document: Document, path: Path) -> str:
    """What to do if a value is empty only because it begins with a character that YAML takes for something else."""
    written = document.origin(path)
    mark = written.keys.get(path)
    text = written.lines[mark.line][mark.column + mark.length :] if mark and mark.line < len(written.lines) else ""
    found = re.match(r"""["']?\s*:\s+([#&!])\S""", text)
    starts = {"#": "a comment", "&": "an anchor", "!": "a tag"}
    return f"put the value in quotes: {found[1]} starts {starts[found[1]]}" if found else ""


def _commands(data: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Every command, with its path. Those of a build are lines for a shell."""
    app = map_of(data.get("app"))
    yield from ((("app", "build", index), line) for index, line in enumerate(list_of(app.get("build"))) if line)
    if data.get("release_command"):
        yield ("release_command",), data["release_command"]
    types, schedules = map_of(data.get("dynos")), list_of(data.get("schedule"))
    for section, entries in (("dynos", types.items()), ("schedule", enumerate(schedules))):
        for key, entry in entries:
            if map_of(entry).get("command"):
                yield (section, key, "command"), entry["command"]
