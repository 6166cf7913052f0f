"""What to do about a manifest that is not there: use the one above, the one that is named otherwise, or make one."""

from __future__ import annotations

import os
from pathlib import Path

from infra.errors import Diagnostic
from infra.manifest import closed
from infra.manifest.paths import exists, is_file

HIGHEST = 20
"""How many parents are looked into."""

_SIMILAR = ("dyno.yaml", "dyno.yml", "dynos.yaml", "dynos.yml", "Dyno.yaml", "dynoctl.yaml", "dynoctl.yml", "dynofile")
_ELSEWHERE = ("dyno.yaml.txt", "dyno.yaml.example", "config/dyno.yaml", "deploy/dyno.yaml")
_APPS = ("config.ru", "Gemfile", "Procfile", "config/deploy.yml", "app.rb")
"""Files that an app has which ``dynoctl init`` can describe."""


def not_found(file: Path) -> Diagnostic:
    """The error for a manifest that does not exist."""
    directory = file.parent
    if denied := closed.behind(directory, str(file)):
        return denied
    if not exists(directory):
        return Diagnostic(f"{file} not found: there is no directory {directory}", hint="check the path after -f")
    place = f" in {os.path.realpath(directory)}" if file.parent == Path() else ""
    return Diagnostic(f"{file} not found{place}", hint=_hint(file, directory))


def _hint(file: Path, directory: Path) -> str:
    if str(file) == "-":
        return "write the manifest to a file: -f FILE"
    for name in (*_SIMILAR, *_ELSEWHERE):
        other = directory / name
        if other != file and is_file(other):
            rename = "" if other.suffix in (".yaml", ".yml") else f", or rename it: mv {other} {file}"
            return f"{name} is there: use -f {other}{rename}"
    above = _above(file)
    if above is not None:
        return f"{above} is the next one above: use -f {above}, or run dynoctl in {above.parent}"
    if any(exists(directory / name) for name in _APPS):
        return "dynoctl init makes a dyno.yaml for the app in this directory; for another manifest: -f FILE"
    return "dynoctl init makes a new app with its dyno.yaml; for another manifest: -f FILE"


def _above(file: Path) -> Path | None:
    """The file of the same name in the nearest parent, relative to the current directory."""
    if file.is_absolute() or file.parent != Path():
        return None
    here = Path.cwd()
    for number, parent in enumerate(here.parents[:HIGHEST], 1):
        if is_file(parent / file.name):
            return Path(*[".."] * number) / file.name
    return None
