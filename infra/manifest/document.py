"""A YAML document: its values with source positions, and its lines with secrets masked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from infra.errors import Diagnostic, Location
from infra.manifest.model import Json
from infra.manifest.urls import SECRET

Path = tuple[str | int, ...]

# Up to the last @: a password may contain one, or a slash. A login without a colon is the password of Redis.
_CREDENTIALS = re.compile(r"(?P<scheme>rediss?)?://(?P<login>[^\s\"']*)(?=@)")
_OPTION = re.compile(rf"((?:{'|'.join(sorted(SECRET))})=)([^&\s\"']*)", re.IGNORECASE)


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
    secrets: list[Mark] = field(default_factory=list)
    """Positions of values that may be secret and are never shown."""

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
        """A source line with secrets masked character by character, so that carets still point at the right column."""
        if line >= len(self.lines):
            return ""
        text = _CREDENTIALS.sub(_star, self.lines[line])
        text = _OPTION.sub(lambda found: found[1] + "*" * len(found[2]), text)
        for mark in self.secrets:
            if mark.line == line:
                end = mark.column + mark.length
                text = text[: mark.column] + "*" * (len(text[mark.column : end])) + text[end:]
        return text

    def diagnostic(
        self, path: Path, summary: str, *, key: bool = False, expected: str = "", hint: str = ""
    ) -> Diagnostic:
        """A diagnostic at a path."""
        return Diagnostic(summary, "/".join(map(str, path)), self.locate(path, key=key), expected, hint)


def _star(match: re.Match[str]) -> str:
    start = match.start("login") - match.start()
    user, colon, password = match["login"].partition(":")
    if match["scheme"] and not colon:
        user, password = "", user
    return match[0][:start] + user + colon + "*" * len(password)
