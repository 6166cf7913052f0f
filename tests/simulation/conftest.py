"""Adds up how many applies were simulated, over all workers, and prints it at the end."""

from __future__ import annotations

from typing import Any

import pytest

PROPERTY = "simulated applies"


@pytest.fixture
def count(record_property: Any) -> Any:
    """Call it with a number of applies that were simulated."""
    return lambda applies: record_property(PROPERTY, applies)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for one in ("passed", "failed") for report in terminalreporter.stats.get(one, [])]
    total = sum(int(str(value)) for report in reports for name, value in report.user_properties if name == PROPERTY)
    if total:
        terminalreporter.write_line(f"{total:,} applies were simulated")
