"""What every server reaches of the databases and caches: a table, or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from infra.ops.connectivity import Answer
from infra.views.style import Style, printable

_HEAD = ("SERVER", "SERVICE", "ADAPTER", "RESULT")


def table(answers: Sequence[Answer], style: Style) -> str:
    """One line for each server and service."""
    if not answers:
        return "There is no database and no cache to reach."
    cells = [(one.server, one.service, one.adapter) for one in answers]
    widths = [max(len(row[column]) for row in [_HEAD[:3], *cells]) for column in range(3)]

    def line(row: Sequence[str], last: str) -> str:
        return "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)), last])

    lines = [line(_HEAD[:3], _HEAD[3])]
    for one, row in zip(answers, cells, strict=True):
        lines.append(line(row, style("green" if one.ok else "red", printable(one.says))))
    bad = sum(not one.ok for one in answers)
    lines += ["", f"{len(answers) - bad} of {len(answers)} reach what they need."]
    return "\n".join(lines)


def document(answers: Sequence[Answer], unreachable: Mapping[str, str]) -> dict[str, object]:
    """The same as JSON values."""
    return {"answers": [asdict(answer) for answer in answers], "unreachable": dict(unreachable)}
