"""Releases as all servers together record them: one record of each, which no single server decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

from infra.model.release import BACK, LAST, OK, UNFINISHED, Release


def merge(found: Iterable[Sequence[Release]]) -> tuple[Release, ...]:
    """Every release that any server has a record of, oldest first, whatever the order of the servers. A server that was
    unreachable when a release ended or was continued has a less recent record of it than others."""
    said: dict[tuple[int, str, str], list[Release]] = {}
    for releases in _plausible([list(releases) for releases in found]):
        for release in releases:
            said.setdefault((release.number, release.salt, release.digest), []).append(release)
    combined = {key: reduce(_combined, _believed(records)) for key, records in said.items()}
    by_number: dict[int, Release] = {}
    for key in sorted(combined, key=lambda key: (len(said[key]), _certainty(combined[key]))):
        # That of most servers, if two have the same number, and so is its seal; none rather than that of one of two.
        seals = Counter(release.sealed for release in said[key])
        sealed = max(seals.items(), key=lambda seal: (seal[1], not seal[0], seal[0]))[0]
        by_number[key[0]] = replace(combined[key], sealed=sealed)
    return tuple(by_number[number] for number in sorted(by_number))


def _believed(records: list[Release]) -> list[Release]:
    """Without those that contradict more of the others: what a release goes back to, and whether it was kept or given
    back, never changes once it is said. So no server makes a rejected release a good one."""
    origins = Counter(entry.of for entry in records)
    records = [entry for entry in records if origins[entry.of] == max(origins.values())]
    ends = Counter(entry.result in BACK for entry in records if entry.result in (OK, *BACK))
    most = max(ends.values(), default=0)
    return [entry for entry in records if entry.result not in (OK, *BACK) or ends[entry.result in BACK] == most]


FAR = 100_000
"""Numbers by which no server can be ahead of all others, however long those were unreachable."""


def _plausible(found: list[list[Release]]) -> list[list[Release]]:
    """Without the numbers of one server that are far beyond those of all others: nobody would have any left."""
    highest = sorted((max(release.number for release in releases) for releases in found if releases), reverse=True)
    limit = highest[1] + FAR if len(highest) > 1 else LAST
    return [[release for release in releases if release.number <= limit] for releases in found]


def _combined(first: Release, second: Release) -> Release:
    """The combined records of two servers for one release."""
    better, worse = sorted((first, second), key=_certainty, reverse=True)
    commanded = better.commanded or worse.commanded
    on = "" if commanded else better.on or (worse.on if better.result == UNFINISHED else "")
    message, moved = better.message or worse.message, better.moved or worse.moved
    return replace(better, commanded=commanded, on=on, moved=moved, message=message)


def _certainty(release: Release) -> tuple[object, ...]:
    """A sort key: the more recent knowledge last. A release that succeeded did so after every failed attempt; the other
    fields only make the order total."""
    rank = {OK: 3, UNFINISHED: 0, **dict.fromkeys(BACK, 2)}
    return (rank.get(release.result, 1), release.when, release.commanded, release.moved, release.as_json())
