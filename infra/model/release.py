"""Releases: what ran, under which number, and how its rollout ended; values only."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

UNFINISHED = "unfinished"
OK = "ok"
BACK = ("rejected", "reverted")
"""How a release ended of which nothing runs."""

REMEMBERED = 50
"""How many releases the servers can list."""

STRANGE = 1000
"""Numbers that are left to a server that is away, and that nobody here has heard of."""


@dataclass(frozen=True)
class Release:
    """One release, as the servers record it. ``slug`` is its digest in hex, ``manifest`` the first 12 digits of the
    manifest's sha256, ``when`` UTC in ISO 8601, ``commit`` git's name of the source's commit or "". ``of`` is the
    release that a rollback went back to, or 0. ``digest`` is that of all that runs, behind ``salt``, for it holds
    secrets. ``commanded``: its release command has run, or it had none. ``on`` is the machine-id of the server on which
    the command was begun, for as long as nobody heard how it ended. ``moved``: a dyno was moved to it."""

    number: int
    slug: str
    digest: str
    salt: str
    manifest: str = ""
    who: str = ""
    when: str = ""
    commit: str = ""
    message: str = ""
    result: str = UNFINISHED
    of: int = 0
    commanded: bool = False
    on: str = ""
    moved: bool = False

    @property
    def ran(self) -> bool:
        """Whether something of it runs, or ran, as far as is known."""
        return self.result not in BACK and (self.moved or self.result == OK)

    def runs(self, content: str) -> bool:
        """Whether ``content``, as ``infra.state.release_body.pack`` makes it, is what this release runs."""
        return _digest(self.salt, content) == self.digest

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def parse(entry: Mapping[str, Any]) -> Release | None:
    """A release from its JSON; None where it is not of that form. Keys that a newer dynoctl added are left out."""
    values = {}
    for one in fields(Release):
        if one.name in entry:
            values[one.name] = entry[one.name]
    texts = ("slug", "digest", "salt", "manifest", "who", "when", "commit", "message", "result", "on")
    numbers = all(isinstance(values.get(name, 0), int) for name in ("number", "of"))
    if not numbers or values.get("number", 0) < 1 or not all(isinstance(values.get(name, ""), str) for name in texts):
        return None
    try:
        return Release(**values)
    except TypeError:
        return None


def merge(found: Iterable[Sequence[Release]]) -> tuple[Release, ...]:
    """All that any server remembers, oldest first, whatever the order of the servers. A server that was away when a
    release ended, or was gone on with, knows less of it than others."""
    known: dict[int, Release] = {}
    for releases in found:
        for one in releases:
            other = known.get(one.number)
            known[one.number] = one if other is None else _both(one, other)
    return tuple(known[number] for number in sorted(known))


def _both(one: Release, other: Release) -> Release:
    better, worse = sorted((one, other), key=_certainty, reverse=True)
    if better.salt != worse.salt:
        return better  # two that were given the same number, by servers that never heard of each other
    commanded = better.commanded or worse.commanded
    on = "" if commanded else better.on or (worse.on if better.result == UNFINISHED else "")
    return replace(better, commanded=commanded, on=on, moved=better.moved or worse.moved)


def _certainty(one: Release) -> tuple[object, ...]:
    """One that ended well did so after all that went wrong with it before. The rest is there to make it an order."""
    rank = {OK: 3, UNFINISHED: 0, **dict.fromkeys(BACK, 2)}
    return (rank.get(one.result, 1), one.when, one.commanded, one.moved, one.as_json())


def newest(releases: Sequence[Release]) -> Release | None:
    """The newest that was not taken back: the one that the next apply goes on with, if it is to run the same."""
    return next((one for one in reversed(releases) if one.result not in BACK), None)


def current(releases: Sequence[Release]) -> Release | None:
    """The newest of which something runs, as far as is known."""
    return next((one for one in reversed(releases) if one.ran), None)


def last_good(releases: Sequence[Release], bodies: Collection[int]) -> Release | None:
    """Where a rollback goes by itself: the newest release that ended well and is not what runs now. ``bodies`` are the
    numbers of those that can be made again."""
    now = current(releases)
    good = [one for one in reversed(releases) if one.result == OK and one.number in bodies and one != now]
    if now is not None and now.result == OK:
        good = [one for one in good if origin(one, releases) != origin(now, releases)]
    return good[0] if good else None


def origin(release: Release, releases: Sequence[Release]) -> int:
    """The release in which what this one runs was first made: a rollback's is where it went back to."""
    known = {one.number: one for one in releases}
    while release.of in known and release.of < release.number:
        release = known[release.of]
    return release.of or release.number


def next_number(
    used: Collection[int], machines: Collection[str], reached: Collection[str], strangers: bool = False
) -> int:
    """The number of a new release, unique though some servers did not answer.

    ``used`` are all numbers that are known, ``machines`` the ids of all servers that remember something of the app,
    ``reached`` those that answered. Two sets of servers that share one cannot give the same number twice, as the shared
    one remembers it. Sets that share none both lack somebody, and their first servers differ: so where somebody is
    away, the number's remainder by the count of all servers is the place of the first one that answered.

    ``strangers``: some server is away of which nobody knows what it remembers. Then there is no such order, and the
    first number is one that it will not have come to.
    """
    number = max(used, default=0) + 1
    if strangers and number <= STRANGE:
        return STRANGE + 1
    everybody = sorted(set(machines) | set(reached))
    there = sorted(reached)
    if not there or len(there) == len(everybody):
        return number
    first = everybody.index(there[0])
    return number + (first - number) % len(everybody)


def kept(releases: Sequence[Release], keep: int, wanted: str) -> tuple[str, ...]:
    """The digests of the slugs that stay: the wanted one, and the newest others of releases that ran."""
    slugs = [wanted]
    for one in reversed(releases):
        if one.ran and one.slug not in slugs:
            slugs.append(one.slug)
    return tuple(slugs[:keep])


def kept_bodies(releases: Sequence[Release], slugs: Collection[str], keep: int) -> set[int]:
    """The numbers of the releases that can be made again: of each slug that stays, the newest ``keep``."""
    count: Counter[str] = Counter()
    numbers = set()
    for one in reversed(releases):
        if not one.ran or one.slug not in slugs or count[one.slug] == keep:
            continue
        count[one.slug] += 1
        numbers.add(one.number)
    return numbers


def remembered(releases: Sequence[Release], slugs: Collection[str]) -> list[Release]:
    """Those that the servers go on listing, oldest first. What runs, and what can be gone back to (its slug is one of
    ``slugs``), goes only after all that never ran or was taken back."""
    now = current(releases)

    def worth(one: Release) -> tuple[bool, bool, int]:
        return (now is not None and one.number == now.number, one.ran and one.slug in slugs, one.number)

    return sorted(sorted(releases, key=worth)[-REMEMBERED:], key=lambda one: one.number)


def unheard(releases: Sequence[Release], reached: Collection[str], machines: Collection[str]) -> Release | None:
    """The newest release whose command may still run, on one of ``machines`` that did not answer."""
    away = set(machines) - set(reached)
    return next((one for one in reversed(releases) if one.on in away and not one.commanded), None)


def new(number: int, slug: str, content: str, *, manifest: str, of: int = 0) -> Release:
    """A release that nobody has made yet."""
    salt = secrets.token_hex(16)
    return Release(number, slug, _digest(salt, content), salt, manifest=manifest, of=of)


def ended(release: Release, result: str, *, before: bool, free: bool) -> Release:
    """How an apply of it ended. ``before``: dynos had moved to it in an earlier apply, so they did not go back in this
    one. ``free``: it has no release command, and what ended well will never need one."""
    if release.result == OK:
        return release
    result = "failed" if result in BACK and before else result
    return replace(release, result=result, commanded=release.commanded or (free and result == OK))


def _digest(salt: str, content: str) -> str:
    return hashlib.sha256((salt + content).encode()).hexdigest()
