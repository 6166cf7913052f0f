"""Diagnostics with a source location, and errors with an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

OK = 0
ERROR = 1
CHANGES_PENDING = 2
INVALID_MANIFEST = 3
UNREACHABLE = 4
REJECTED = 5


LONGEST = 4096
"""Characters of a source line in JSON."""


@dataclass(frozen=True)
class Location:
    """A location in a file. ``line`` and ``column`` count from 1; ``text`` is the whole source line."""

    file: str
    line: int
    column: int
    text: str = ""
    length: int = 1
    """The number of characters that the carets underline."""


@dataclass(frozen=True)
class Diagnostic:
    """One error or warning about a manifest: what is wrong, where it is, and how to fix it.

    ``path`` is the path in the manifest, such as ``servers/0/host``; it is "" for the whole document.
    ``expected`` describes a valid value; ``hint`` is a fix, such as the suggestion for a misspelled key.
    """

    summary: str
    path: str = ""
    location: Location | None = None
    expected: str = ""
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    """A warning does not make the manifest invalid."""

    def as_json(self) -> dict[str, object]:
        """A JSON object; the keys are stable: severity, summary, path, expected, hint, location."""
        location = self.location
        return {
            "severity": self.severity,
            "summary": self.summary,
            "path": self.path,
            "expected": self.expected,
            "hint": self.hint,
            "location": None
            if location is None
            else {
                "file": location.file,
                "line": location.line,
                "column": location.column,
                "text": location.text[:LONGEST],
            },
        }


class DynoctlError(Exception):
    """An error that the user can fix. ``summary`` says what failed, ``hint`` how to fix it."""

    exit_code = ERROR

    def __init__(self, summary: str, hint: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # As a value, for another process: the constructors of subclasses have other parameters.
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[DynoctlError], arguments: tuple[object, ...], values: dict[str, object]) -> DynoctlError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(values)
    return error


class ManifestInvalid(DynoctlError):
    """The manifest is invalid. ``diagnostics`` holds every error, in the order of the file."""

    exit_code = INVALID_MANIFEST

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        count = len(diagnostics)
        super().__init__(f"{count} error{'' if count == 1 else 's'} in the manifest")
        self.diagnostics = tuple(diagnostics)


class Unreachable(DynoctlError):
    """A server is unreachable: the connection or the authentication failed.

    ``silent``: nothing at its address answered. Otherwise something did, so its dynos may well be running."""

    exit_code = UNREACHABLE

    def __init__(self, summary: str, hint: str = "", *, silent: bool = False) -> None:
        super().__init__(summary, hint)
        self.silent = silent


class NewerRecords(DynoctlError):
    """A server has records in a newer format than this version of dynoctl supports.

    The server is not unreachable, because it answers. So its dynos must not be planned elsewhere."""
