"""Procfile: process types with their commands, and the release command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stacks.sources.found import Found, Note, Process, shortened

_LINE = re.compile(r"^([A-Za-z0-9_-]{1,80}):\s*(\S.*)$")
_HELPERS: tuple[tuple[str, str], ...] = (
    (r"redis-server|postgres\b|mysqld|memcached|mongod|elasticsearch", "a server that dynoctl does not run: {}"),
    (
        r"mailcatcher|mailhog|maildev|guard\b|webpack-dev-server|shakapacker-dev-server|vite (dev|serve)|\bvite$",
        "it is for development",
    ),
    (r"tailwindcss:watch|--watch\b|\bwatch\b|dev:|:dev\b|rerun\b", "it is for development"),
    (
        r"^(bundle exec )?(bin/)?rails (c|console|s -e dev)|^(bundle exec )?(irb|pry)\b",
        "dynoctl run starts it when it is needed",
    ),
    (r"^(bundle exec )?rake$", "dynoctl run starts it when it is needed"),
    (r"^(ngrok|cloudflared|stripe listen)\b", "it is for development"),
)
_BACKING = {"redis-server": "cache", "memcached": "cache"}


class Procfile:
    """The web line is read for its app server; helpers of development are left out."""

    name = "Procfile"
    files: Sequence[str] = ("Procfile",)
    platform = False

    def read(self, files: Mapping[str, str]) -> Found:
        processes: dict[str, Process] = {}
        release = ""
        notes: list[Note] = []
        for number, line in enumerate(files.get("Procfile", "").splitlines()[:500], 1):
            found = _LINE.match(line.strip())
            if found is None:
                continue
            name, command = found[1], found[2].strip()
            why = "" if name in ("web", "release") else helper(command)
            if why:
                notes.append(Note(f"process type {name} is left out: {why}", "Procfile", number))
            elif name == "release":
                release = command
            elif name in processes:
                notes.append(
                    Note(f"process type {name} is left out: an earlier line has the same name", "Procfile", number)
                )
            else:
                processes[name] = Process(command, where=Note(shortened(name), "Procfile", number))
        return Found(processes=processes, release=release, notes=tuple(notes))


def helper(command: str) -> str:
    """Why a command has no place in production; "" if it has."""
    text = re.sub(r"^(?:env\s+)?(?:[A-Z_][A-Z0-9_]*=\S*\s+)*", "", command[:2000])
    for pattern, why in _HELPERS:
        found = re.search(pattern, text)
        if found:
            key = _BACKING.get(found[0], "database")
            return why.format(f"set its address in {key}")
    return ""
