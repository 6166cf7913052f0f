"""Which databases and caches every server can connect to, as a table or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.ops.connectivity import Answer
from infra.views.style import Style, one_line
from infra.views.table import line, padded

_HEAD = ("SERVER", "SERVICE", "ADAPTER", "RESULT")


def table(answers: Sequence[Answer], style: Style) -> str:
    """One line per server and service."""
    if not answers:
        return "No databases or caches are configured."
    head, *rows = padded([_HEAD[:3], *((answer.server, answer.service, answer.adapter) for answer in answers)])
    lines = [line([*head, _HEAD[3]])]
    for answer, row in zip(answers, rows, strict=True):
        lines.append(line([*row, style("green" if answer.ok else "red", one_line(answer.message))]))
    passed = sum(answer.ok for answer in answers)
    lines += ["", f"{passed} of {len(answers)} connections work."]
    return "\n".join(lines)


def document(answers: Sequence[Answer], unreachable: Mapping[str, str]) -> dict[str, object]:
    """The answers as JSON values."""
    return {"answers": [_as_json(answer) for answer in answers], "unreachable": dict(unreachable)}


def _as_json(answer: Answer) -> dict[str, object]:
    return {
        "server": answer.server,
        "service": answer.service,
        "adapter": answer.adapter,
        "ok": answer.ok,
        "says": answer.message,
    }
