"""A YAML document as plain values, with the place of every key and value, and diagnostics that point there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from infra.errors import Diagnostic
from infra.manifest.model import Json
from infra.manifest.secrets import shown_key
from infra.manifest.source import Path, Shown, Source, Span

T = TypeVar("T")


@dataclass
class Document:
    """The data, and where it stands. ``broken`` holds the paths that were complained about already."""

    source: Source
    data: Json = None
    keys: dict[Path, Span] = field(default_factory=dict)
    values: dict[Path, Span] = field(default_factory=dict)
    blocks: set[Path] = field(default_factory=set)
    """Paths of values that have no characters of their own to underline: empty ones, and blocks of lines."""
    broken: set[Path] = field(default_factory=set)

    def get(self, kind: type[T], *path: str | int) -> T | None:
        """The value at ``path`` where it is there, of the type ``kind`` and not complained about."""
        value: Any = self.data
        for length, step in enumerate(path, 1):
            if path[:length] in self.broken:
                return None
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        if isinstance(value, bool) and kind is not bool:
            return None
        return value if isinstance(value, kind) else None

    def has(self, *path: str | int) -> bool:
        """Whether something stands at ``path``, whatever it is."""
        return path in self.values

    def diagnostic(
        self, path: Path, summary: str, *, key: bool = False, expected: str = "", hint: str = ""
    ) -> Diagnostic:
        """A diagnostic that points at the value at ``path``, or at its key; where neither is there, above it."""
        return Diagnostic(summary, joined(path), self._location(path, key), expected, hint)

    def diagnostic_at(self, span: Span, path: Path, summary: str, *, expected: str = "", hint: str = "") -> Diagnostic:
        """A diagnostic that points at ``span``."""
        return Diagnostic(summary, joined(path), self.source.location(span), expected, hint)

    def line(self, path: Path) -> int:
        """The line of the value at ``path``, from 1."""
        return self.source.line(self.values[path].start)

    def _location(self, path: Path, key: bool) -> Shown:
        while path:
            at_key, at_value = self.keys.get(path), self.values.get(path)
            if at_key is not None and (key or at_value is None or self._is_block(path, at_key, at_value)):
                return self.source.location(at_key)
            if at_value is not None:
                return self.source.location(self.source.first_line(at_value))
            path, key = path[:-1], True
        return self.source.location(Span(*[self.values[()].start] * 2) if () in self.values else Span(0, 0))

    def _is_block(self, path: Path, key: Span, value: Span) -> bool:
        """Whether a value has no characters on its key's line to underline."""
        return path in self.blocks or self.source.line(key.start) != self.source.line(value.start)


def joined(path: Iterable[str | int]) -> str:
    """``servers/0/host``"""
    return "/".join(shown_key(step) if isinstance(step, str) else str(step) for step in path)
