"""The report of an apply as JSON values: the last line of ``apply --json``."""

from __future__ import annotations

from dataclasses import asdict

from infra.model.events import Report


def document(report: Report) -> dict[str, object]:
    """The changes that were made, that failed and that were not started."""
    return {
        "ok": report.ok,
        "halted": report.halted,
        "rejected": report.rejected,
        "reverted": list(report.reverted),
        "stranded": list(report.stranded),
        "tolerated": list(report.tolerated),
        "sent_over_ssh": dict(report.by_ssh),
        "release_said": report.release_output,
        "interrupted": report.interrupted,
        "done": [{"address": change.address, "action": change.action} for change in report.done],
        "failures": [asdict(failure) for failure in report.failures],
        "skipped": [{"address": change.address, "action": change.action} for change in report.skipped],
    }
