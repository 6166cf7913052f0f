"""Moments in the time zone of the reader."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from infra.model import release
from infra.model.moment import local
from infra.views import history, releases
from infra.views.style import Style

CET = timezone(timedelta(hours=1), "CET")


@pytest.mark.parametrize(
    ("when", "shown"),
    [
        ("2026-11-29T10:22:31Z", "2026-11-29 11:22 CET"),
        ("2026-12-31T23:30:00+00:00", "2027-01-01 00:30 CET"),
        ("2026-11-29T10:22:31", "2026-11-29T10:22:31"),
        ("0001-01-01T00:00:00+09:00", "0001-01-01T00:00:00+09:00"),
        ("yesterday", "yesterday"),
        ("", ""),
    ],
)
def test_a_moment_has_the_zone_of_the_reader(when: str, shown: str) -> None:
    assert local(when, CET) == shown


def test_history_and_releases_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    when = "2026-11-29T10:22:31Z"
    here = local(when)
    assert here in history.table([{"when": when, "who": "ann@desk", "seconds": 2.4}], Style(False))
    one = release.new(1, "ab" * 32, "{}", manifest="cd" * 6)
    entries = [release.parse({**vars(one), "when": when, "who": "ann@desk", "result": "ok"})]
    known = [entry for entry in entries if entry is not None]
    text = releases.table(known, known[0], {1: ["grid-1"]}, Style(False))
    assert here in text
    assert text.endswith("* current release."), "there is none to roll back to"
    two = [replace(known[0], number=2)]
    assert releases.table(two, two[0], {1: ["grid-1"], 2: ["grid-1"]}, Style(False)).endswith("rollback VERSION")
    assert f" by ann@desk at {here}, is held" in str(release.Hold(5, 3, 4, "ann@desk", when))
    assert f"{here} by ann@desk" in releases.details(known[0], [], [], ["grid-1"])
