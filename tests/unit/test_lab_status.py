"""The output of the lab: server names, durations and the status table."""

from __future__ import annotations

import pytest

from infra.lab.fleet import listed
from infra.lab.status import Row, duration, text


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ([], ""),
        (["data"], "data"),
        (["grid-1"], "grid-1"),
        (["grid-2", "grid-1"], "grid-1, grid-2"),
        (["data", "grid-1", "grid-2", "grid-3"], "data, grid-1 to grid-3"),
        (["grid-1", "grid-3", "grid-4", "grid-6", "grid-7", "grid-8"], "grid-1, grid-3, grid-4, grid-6 to grid-8"),
        ([f"grid-{number}" for number in range(1, 33)], "grid-1 to grid-32"),
    ],
)
def test_listed_servers(servers: list[str], words: str) -> None:
    assert listed(servers) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59.9, "59s"), (60, "1m 00s"), (303, "5m 03s"), (7500, "2h 05m"), (3 * 86400 + 4 * 3600, "3d 04h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_table() -> None:
    rows = [
        Row("data", "bookworm", "10.77.0.2", "running", 61, 50 * 2**20, 9, "a"),
        Row("grid-1", "trixie", "10.77.0.11", "stopped", 0, 0, 0, "b"),
    ]
    assert text(rows) == (
        "SERVER  RELEASE   ADDRESS     STATE    UPTIME  MEMORY\n"
        "data    bookworm  10.77.0.2   running  1m 01s  50 MiB\n"
        "grid-1  trixie    10.77.0.11  stopped  -       -"
    )
