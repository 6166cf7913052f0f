"""A YAML document: its values with source positions, and its lines with secrets masked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from infra.errors import Diagnostic, Location
from infra.manifest.model import Json
from infra.manifest.urls import SECRET, SIGNATURES

Path = tuple[str | int, ...]

_WORD = re.compile(r"[^\s\"']+")
_OPTION = re.compile(rf"((?:{'|'.join(sorted({*SECRET, *SIGNATURES}))})=)([^&\s\"']*)", re.IGNORECASE)


@dataclass(frozen=True)
class Mark:
    """A source position: line and column from 0, and the number of characters on that line."""

    line: int
    column: int
    length: int = 1


@dataclass
class Document:
    """The data, with the mark of every key and value by path. ``scalars`` holds each scalar as it is written."""

    file: str
    sha256: str = ""
    """In hex, of the bytes of the file."""
    lines: list[str] = field(default_factory=list)
    data: Json = None
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    ends: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """The line and column, from 0, at which each value ends."""
    scalars: dict[Path, str] = field(default_factory=dict)
    unread: set[Path] = field(default_factory=set)
    """Values with an error of YAML, which are None in the data."""
    secrets: list[Mark] = field(default_factory=list)
    """Positions of values that may be secret and are never shown."""
    _secrets: dict[int, list[Mark]] = field(default_factory=dict, repr=False)
    """The same by line, as far as they are ``_sorted``."""
    _sorted: int = field(default=0, repr=False)
    _shown: dict[int, str] = field(default_factory=dict, repr=False)

    def origin(self, path: Path) -> Document:
        """The document that holds a path: this one."""
        return self

    def locate(self, path: Path, *, key: bool = False) -> Location | None:
        """The location of a path: of its key if ``key``, else of its value, or of the nearest parent that exists."""
        while True:
            mark = (
                (self.keys.get(path) if key else self.values.get(path)) or self.values.get(path) or self.keys.get(path)
            )
            if mark is not None:
                return self.location(mark)
            if not path:
                return Location(self.file, 1, 1, self.shown(0)) if self.lines else None
            path, key = path[:-1], True

    def location(self, mark: Mark) -> Location:
        """A mark as a location, with secrets masked in its line."""
        text = self.shown(mark.line)
        length = max(1, min(mark.length, len(text) - mark.column))
        return Location(self.file, mark.line + 1, mark.column + 1, text, length)

    def shown(self, line: int) -> str:
        """A source line with secrets masked character by character, so that carets still point at the right column.

        It is kept: a line of 1 MB may have thousands of errors and of secrets."""
        if line >= len(self.lines):
            return ""
        for mark in self.secrets[self._sorted :]:
            self._secrets.setdefault(mark.line, []).append(mark)
            self._shown.pop(mark.line, None)
        self._sorted = len(self.secrets)
        if line not in self._shown:
            characters = list(masked(self.lines[line]))
            covered = 0
            for mark in sorted(self._secrets.get(line, ()), key=lambda mark: mark.column):
                end = min(mark.column + mark.length, len(characters))
                start = max(mark.column, covered)
                if start < end:
                    characters[start:end] = "*" * (end - start)
                covered = max(covered, end)
            self._shown[line] = "".join(characters)
        return self._shown[line]

    def diagnostic(
        self, path: Path, summary: str, *, key: bool = False, expected: str = "", hint: str = ""
    ) -> Diagnostic:
        """A diagnostic at a path."""
        where, at = "/".join(map(str, path)), self.locate(path, key=key)
        return Diagnostic(masked(summary), masked(where), at, masked(expected), masked(hint))


def masked(text: str) -> str:
    """A text with the passwords of all logins, such as ``ann:one@host``, and the options that are secret masked
    character by character."""
    return _OPTION.sub(lambda found: found[1] + "*" * len(found[2]), _WORD.sub(_star, text))


def _star(match: re.Match[str]) -> str:
    """A word with its login masked, up to the last @: a password may contain one, or a slash. A login without a colon
    is the password of Redis, or a token of HTTP."""
    scheme, separator, rest = match[0].rpartition("://") if match[0].count("://") == 1 else ("", "", match[0])
    login, at, host = rest.rpartition("@")
    user, colon, password = login.partition(":")
    if scheme.endswith(("redis", "rediss", "http", "https")) and not colon:
        user, password = "", user
    return f"{scheme}{separator}{user}{colon}{'*' * len(password)}{at}{host}"


def map_of(value: object) -> dict[str, Any]:
    """A value of the data that should be a mapping; an empty one if it is not."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    """A value of the data that should be a list; an empty one if it is not."""
    return value if isinstance(value, list) else []
