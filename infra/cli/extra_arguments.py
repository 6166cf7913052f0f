"""What to type for an argument that a command does not take."""

from __future__ import annotations

import re
from pathlib import Path

from infra.cli.command_line import NEVER, shown
from infra.cli.other_programs import DYNO, YAML
from infra.manifest.paths import is_directory, is_file

_OFTEN = ("apply", "plan", "validate")
"""Commands that are typed in one line with others."""
_VERSION = re.compile(r"v[0-9]+")
_DESTINATION = re.compile(r"[a-z0-9-]+")

_SELECTS = {"plan": "--target", "apply": "--target", "run": "--server"}
"""The option of a command that selects a server, a dyno or a process type."""


def unexpected(path: str, word: str) -> tuple[str, str]:
    """The summary and the hint for an argument that a command does not take."""
    command = path.removeprefix("dynoctl ")
    summary = f"unexpected argument of {path}: {shown(word)}"
    if re.fullmatch(YAML, word):
        return summary, f"{path} -f {word}"
    if word in ("help", "-h", "usage"):
        return summary, f"{path} --help"
    if word in ("&", "&&", ";", "then", "and", *_OFTEN):
        return summary, f"one command at a time: {path}" + (f", then: dynoctl {word}" if word in _OFTEN else "")
    if _VERSION.fullmatch(word) and command not in ("rollback", "show"):
        return summary, f"to run an earlier release: dynoctl rollback {word}; to see it: dynoctl releases show {word}"
    if _DESTINATION.fullmatch(word) and is_file(Path(f"dyno.{word}.yaml")):
        return summary, f"{path} -d {word}"
    if command == "plan" and (word.endswith((".plan", ".json", ".tfplan")) or is_file(Path(word))):
        return summary, f"for a saved plan: dynoctl show {word}; to save one: dynoctl plan --out {word}"
    if command in ("plan", "apply") and ("/" in word or is_directory(Path(word))):
        return summary, f"for a manifest in another directory: {path} -f {word.rstrip('/')}/dyno.yaml"
    if command in ("plan", "show") and word.endswith((".md", ".html", ".txt")):
        html = word.endswith(".html")
        return summary, f"{path} --html {word}" if html else f"{path} --markdown > {word}"
    if command == "logs":
        if re.fullmatch(DYNO, word):
            return summary, f"{path} --dyno {word}"
        return summary, f"{path} --type {word}, or for a server: {path} --server {word}"
    if command == NEVER:
        return summary, f"it removes the whole app; to stop one process type: dynoctl scale {word.partition('.')[0]}=0"
    if command in _SELECTS:
        return summary, f"{path} {_SELECTS[command]} {word}"
    if command == "rollback":
        return summary, "dynoctl rollback VERSION, such as dynoctl rollback v7"
    if command == "show":
        return summary, "dynoctl show FILE takes one saved plan"
    return summary, f"leave it out: {path} --help shows what it takes"
