"""An error as JSON, format version 1: what a command with ``--json`` prints if it fails before it has a result."""

from __future__ import annotations

from collections.abc import Sequence

from infra.errors import Diagnostic
from infra.views import json_text

FORMAT_VERSION = 1


def values(summary: str, hint: str, diagnostics: Sequence[Diagnostic] = ()) -> dict[str, object]:
    """The error: its summary and hint, and every error of the manifest with its location."""
    return {"summary": summary, "hint": hint, "diagnostics": [one.as_json() for one in diagnostics]}


def render(code: int, error: dict[str, object], *, one_line: bool = False) -> str:
    """The document with the exit code; on one line for a command that prints JSON lines."""
    document = {"format_version": FORMAT_VERSION, "ok": False, "exit_code": code, "error": error}
    if one_line:
        import json

        return json_text.inert(json.dumps(document))
    return json_text.indented(document)
