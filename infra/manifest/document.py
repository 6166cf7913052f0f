"""A YAML document as values with a position for each of them, and lines that are safe to show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from infra.errors import Diagnostic, Location
from infra.manifest.model import Json
from infra.manifest.urls import SECRET

Path = tuple[str | int, ...]

# Up to the last @ of the word: a password may hold one, or a slash. One word alone is the password of Redis.
_CREDENTIALS = re.compile(r"(?P<scheme>rediss?)?://(?P<login>[^\s\"']*)(?=@)")
_OPTION = re.compile(rf"((?:{'|'.join(sorted(SECRET))})=)([^&\s\"']*)", re.IGNORECASE)


@dataclass(frozen=True)
class Mark:
    """Where something stands: line and column from 0, and how many characters it takes on that line."""

    line: int
    column: int
    length: int = 1


@dataclass
class Document:
    """The data, with the marks of every key and value by path. ``scalars`` holds each scalar as it was written."""

    file: str
    sha256: str = ""
    """Of the file's bytes, as they were read."""
    lines: list[str] = field(default_factory=list)
    data: Json = None
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    scalars: dict[Path, str] = field(default_factory=dict)
    secrets: list[Mark] = field(default_factory=list)
    """Values that may be secret: their characters are never shown."""

    def origin(self, path: Path) -> Document:
        """The file in which a path stands: this one."""
        return self

    def locate(self, path: Path, *, key: bool = False) -> Location | None:
        """Where a path stands: its key, or else its value; the nearest place above it where it is not there."""
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
        """A mark as a location, with its line as it may be shown."""
        text = self.shown(mark.line)
        length = max(1, min(mark.length, len(text) - mark.column))
        return Location(self.file, mark.line + 1, mark.column + 1, text, length)

    def shown(self, line: int) -> str:
        """A source line with secrets starred out, character for character, so that carets still fit."""
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
