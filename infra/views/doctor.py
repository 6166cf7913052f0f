"""The findings of ``dynoctl doctor``, by server or as JSON."""

from __future__ import annotations

from infra.ops.doctor import Report
from infra.ops.finding import Finding
from infra.views import under_way
from infra.views.style import Style, one_line
from infra.views.wrapping import wrapped

_COLORS = {"ok": "green", "warning": "yellow", "failed": "red"}


def render(report: Report, style: Style, columns: int | None = None) -> str:
    """One line per finding, with its fix below, and a summary. ``columns`` are those of the terminal; None: no
    limit."""
    width = max(len(finding.check) for finding in report.findings)
    lines = [style("bold", words) for words in under_way.sentences(report.applying)]
    server = None
    for finding in report.findings:
        if finding.server != server:
            server = finding.server
            lines += [*([""] if lines else []), style("bold", server)]
        result = style(_COLORS[finding.result], f"{finding.result:<7}")
        said = f"  {result}  {finding.check:<{width}}  {one_line(finding.message)}"
        lines.append(wrapped(said, columns, width + 13))
        if finding.hint and finding.result != "ok":
            lines.append(wrapped(f"{'':{width + 13}}hint: {one_line(finding.hint)}", columns, width + 15))
    warnings = sum(finding.result == "warning" for finding in report.findings)
    total = len(report.findings)
    words = [f"{report.failed} failed"] if report.failed else []
    words += [f"{warnings} warning{'' if warnings == 1 else 's'}"] if warnings else []
    return "\n".join([*lines, "", f"{total} checks: {', '.join(words) or 'all passed'}."])


def document(report: Report) -> dict[str, object]:
    """The findings as JSON values."""
    return {
        "format_version": 1,
        "ok": report.failed == 0,
        "applying": under_way.document(report.applying),
        "unreachable": list(report.unreachable),
        "findings": [_as_json(finding) for finding in report.findings],
    }


def _as_json(finding: Finding) -> dict[str, str]:
    return {
        "server": finding.server,
        "check": finding.check,
        "result": finding.result,
        "says": finding.message,
        "cure": finding.hint,
    }
