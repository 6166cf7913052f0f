"""What the doctor found: a list by server, or JSON."""

from __future__ import annotations

from dataclasses import asdict

from infra.ops.doctor import Report
from infra.views.style import Style, printable

_COLORS = {"ok": "green", "warning": "yellow", "failed": "red"}


def render(report: Report, style: Style) -> str:
    """A line for each finding, with its cure below, and how many there are of each."""
    width = max(len(one.check) for one in report.findings)
    lines: list[str] = []
    server = None
    for one in report.findings:
        if one.server != server:
            server = one.server
            lines += [*([""] if lines else []), style("bold", server)]
        result = style(_COLORS[one.result], f"{one.result:<7}")
        lines.append(f"  {result}  {one.check:<{width}}  {printable(one.says)}")
        if one.cure and one.result != "ok":
            lines.append(f"{'':{width + 13}}{printable(one.cure)}")
    warnings = sum(one.result == "warning" for one in report.findings)
    total = len(report.findings)
    words = [f"{report.failed} failed"] if report.failed else []
    words += [f"{warnings} warning{'' if warnings == 1 else 's'}"] if warnings else []
    return "\n".join([*lines, "", f"{total} checks: {', '.join(words) or 'all is well'}."])


def document(report: Report) -> dict[str, object]:
    """The same as JSON values."""
    return {
        "format_version": 1,
        "ok": report.failed == 0,
        "unreachable": list(report.unreachable),
        "findings": [asdict(one) for one in report.findings],
    }
