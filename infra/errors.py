"""What can go wrong, as values: diagnostics with a source position, and errors with an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OK = 0
ERROR = 1
CHANGES_PENDING = 2
INVALID_MANIFEST = 3
UNREACHABLE = 4
REJECTED = 5


@dataclass(frozen=True)
class Location:
    """A place in a file. ``line`` and ``column`` count from 1; ``text`` is the whole source line."""

    file: str
    line: int
    column: int
    text: str = ""
    length: int = 1
    """How many characters the caret underlines, on this line."""


@dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong (or worth knowing), where it is, and what to do about it.

    ``path`` is the place in the manifest, like ``servers/0/host``; it is "" for the whole document.
    ``expected`` says what would be right; ``hint`` says what to do (a suggestion for a misspelt key).
    """

    summary: str
    path: str = ""
    location: Location | None = None
    expected: str = ""
    hint: str = ""

    def as_json(self) -> dict[str, object]:
        """A JSON object; the keys are stable: severity, summary, path, expected, hint, location."""
        where = self.location
        return {
            "severity": "error",
            "summary": self.summary,
            "path": self.path,
            "expected": self.expected,
            "hint": self.hint,
            "location": None
            if where is None
            else {"file": where.file, "line": where.line, "column": where.column, "text": where.text},
        }


class DynoctlError(Exception):
    """An error that a user can act on. ``summary`` says what is wrong, ``hint`` what to do about it."""

    exit_code = ERROR

    def __init__(self, summary: str, hint: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.hint = hint


class ManifestInvalid(DynoctlError):
    """The manifest cannot be used; ``diagnostics`` holds every error found, in the order of the file."""

    exit_code = INVALID_MANIFEST

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        count = len(diagnostics)
        super().__init__(f"{count} error{'' if count == 1 else 's'} in the manifest")
        self.diagnostics = tuple(diagnostics)


class Unreachable(DynoctlError):
    """A server could not be reached, or did not let us in."""

    exit_code = UNREACHABLE


class NewerRecords(DynoctlError):
    """A server's records have a format that this dynoctl does not know. It answers, so it is not unreachable: nothing
    may be planned around it."""


class Rejected(DynoctlError):
    """A dyno did not answer after its change, so the rollout stopped."""

    exit_code = REJECTED
