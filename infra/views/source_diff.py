"""What changes in the files of the app, line by line, as text or as JSON values."""

from __future__ import annotations

from dataclasses import asdict

from infra.model.source_change import FileDiff, SourceDiff
from infra.model.text import quantity
from infra.views.style import Style, one_line, printable

_LARGEST = 1 << 20
"""Characters of all diffs in a JSON document."""

_WORDS = {"A": "new file", "D": "removed", "M": "changed"}
_COLORS = {"+": "green", "-": "red", "@": "cyan"}


def render(diff: SourceDiff, style: Style) -> str:
    """A unified diff. Colours are by line."""
    if diff.reason:
        return f"No diff of the source: {one_line(diff.reason)}."
    lines = [f"Diff of the source, from {one_line(diff.origin)}:"]
    for file in diff.files:
        lines += _lines(file, style)
    if diff.more:
        lines.append(f"... and {quantity(diff.more, 'more file')}")
    if not diff.files:
        lines.append("No file differs in its content.")
    return "\n".join(lines)


def _lines(file: FileDiff, style: Style) -> list[str]:
    name = one_line(file.path)
    old, new = (
        ("/dev/null" if file.status == "A" else f"a/{name}"),
        ("/dev/null" if file.status == "D" else f"b/{name}"),
    )
    if not file.text:
        return [style("bold", f"{name}: {_WORDS[file.status]}") + (f", {one_line(file.note)}" if file.note else "")]
    body = [style(_COLORS.get(line[:1], ""), printable(line)) for line in file.text.split("\n")]
    return [style("bold", f"--- {old}"), style("bold", f"+++ {new}"), *body]


def document(diff: SourceDiff) -> dict[str, object]:
    """The diff as JSON values. If it is too large, the texts are null."""
    large = sum(len(file.text) for file in diff.files) > _LARGEST
    files = [{**asdict(file), "text": None if large else file.text} for file in diff.files]
    return {**asdict(diff), "files": files}
