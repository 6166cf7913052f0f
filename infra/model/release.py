"""Releases: what ran, under which number, and how its rollout ended; values only."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from infra.model import answer
from infra.model.moment import local
from infra.model.slug_digest import same_source

UNFINISHED = "unfinished"
OK = "ok"
BACK = ("rejected", "reverted")
"""The results after which nothing of a release runs."""

RECORDED = 50
"""How many releases servers keep a record of."""

LAST = 1_000_000_000
"""No release has a number beyond this one: a record that claims it is damaged, or a lie."""

RESERVED = 1000
"""Release numbers reserved for servers that are unreachable and whose records are unknown."""


@dataclass(frozen=True)
class Release:
    """One release, as servers record it.

    ``slug`` is its digest in hex, ``manifest`` the first 12 digits of the manifest's sha256, ``when`` UTC in ISO 8601,
    ``commit`` the source's git commit or "". ``of`` is the release that a rollback went back to, or 0. ``digest`` is a
    digest of everything the release runs, salted with ``salt`` because that includes secrets. ``commanded``: its
    release command succeeded, or it had none. ``on`` is the machine-id of the server on which the command was started,
    until its end is known. ``moved``: at least one dyno was moved to it. ``sealed`` is a salted digest of its whole
    body; "" if an older dynoctl recorded it."""

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
    sealed: str = ""
    failure: str = ""
    """Why it was rejected, reverted or failed: the first lines of the report, redacted; "" if it was not."""

    @property
    def identity(self) -> tuple[int, str, str, str]:
        """What makes two records those of one release, whatever became of it since."""
        return (self.number, self.salt, self.digest, self.sealed)

    @property
    def ran(self) -> bool:
        """Whether it runs or ran on any dyno, as far as is known."""
        return self.result not in BACK and (self.moved or self.result == OK)

    def runs(self, content: str) -> bool:
        """Whether ``content``, as ``infra.state.release_body.pack`` makes it, is what this release runs."""
        return _digest(self.salt, content) == self.digest

    def seals(self, body: str) -> bool:
        """Whether ``body`` is the whole body of this release."""
        return _digest(self.salt, body) == self.sealed

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(vars(self), sort_keys=True)


def parse(entry: Mapping[str, Any]) -> Release | None:
    """A release from its JSON, or None if that is malformed. Keys added by a newer dynoctl are ignored."""
    values = {}
    for key in fields(Release):
        if key.name in entry:
            values[key.name] = entry[key.name]
    texts = (
        "slug",
        "digest",
        "salt",
        "manifest",
        "who",
        "when",
        "commit",
        "message",
        "result",
        "on",
        "sealed",
        "failure",
    )
    numbers = all(answer.whole(values.get(name, 0)) for name in ("number", "of"))
    if not numbers or not 1 <= values.get("number", 0) < LAST or values.get("of", 0) >= LAST:
        return None
    if not all(isinstance(values.get(name, ""), str) for name in texts):
        return None
    if not all(isinstance(values.get(name, False), bool) for name in ("commanded", "moved")):
        return None
    try:
        return Release(**values)
    except TypeError:
        return None


def newest(releases: Sequence[Release]) -> Release | None:
    """The newest release that was not rejected or reverted: the next apply continues it if it is to run the same."""
    return next((release for release in reversed(releases) if release.result not in BACK), None)


def current(releases: Sequence[Release]) -> Release | None:
    """The newest release that runs on any dyno, as far as is known."""
    return next((release for release in reversed(releases) if release.ran), None)


def standing(releases: Sequence[Release]) -> Release | None:
    """The newest release that was rolled out completely. One that is unfinished or failed may run on some dynos."""
    return next((release for release in reversed(releases) if release.result == OK), None)


def in_force(releases: Sequence[Release]) -> Release | None:
    """The release that more dynos may start from: the one that runs. One that failed or is unfinished may not work:
    then it is the one that stood before, except during a rollback, which replaces that."""
    now = current(releases)
    return now if now is None or now.result == OK or now.of else standing(releases) or now


@dataclass(frozen=True)
class Hold:
    """A rollback that is in force: the release ``number`` runs again what ``of`` ran, and ``over`` is the release that
    it replaced, which must not come back by itself. ``who`` rolled back, ``when`` is UTC in ISO 8601."""

    number: int
    of: int
    over: int
    who: str
    when: str

    def __str__(self) -> str:
        by = f" by {self.who} at {local(self.when)}" if self.who else ""
        return f"v{self.number}, a rollback from v{self.over} to v{self.of}{by}, is held"


def hold(releases: Sequence[Release], slug: str | None, manifest: str) -> Hold | None:
    """The rollback that holds back a release of ``slug`` and ``manifest`` (its sha256), because those are what was
    rolled back from, or at hand at that time; whatever else differs, such as a secret. A release that was applied after
    it ends it, and so does a rollback to it. ``slug`` None: who only looks does not read the source, so it is taken for
    the one that was released last."""
    ran = [release for release in releases if release.ran]
    for earlier, later in zip(reversed(ran[:-1]), reversed(ran[1:]), strict=True):
        if not later.of:
            return None
        now = ran[-1]
        same = not earlier.of if slug is None else same_source(earlier.slug, slug)
        again = origin(now, releases) == origin(earlier, releases)
        if same and not again and manifest[:12] in (earlier.manifest, later.manifest):
            return Hold(now.number, now.of, earlier.number, now.who, now.when)
    return None


def after_edit(release: Release, releases: Sequence[Release], was: str, now: str) -> Release:
    """A rollback that goes on after dynoctl itself edited the manifest that it holds back, from ``was`` to ``now`` (its
    sha256): nobody decided to undo it, so it holds back the edited one, too."""
    before = [other.manifest for other in releases if other.ran and other.number < release.number][-1:]
    held = release.of and was[:12] in (release.manifest, *before)
    return replace(release, manifest=now[:12]) if held else release


def last_good(releases: Sequence[Release], bodies: Collection[int]) -> Release | None:
    """The default target of a rollback: the newest release that succeeded and is not what runs now. During a rollback,
    it is the target of that rollback: a second one completes it. ``bodies`` are the numbers of the releases that
    servers can run again."""
    now = current(releases)
    if now is not None and now.of:
        same = [release for release in releases if release.number in (now.of, now.number) and release.number in bodies]
        return same[0] if same else None
    good = [release for release in reversed(releases) if release.result == OK and release.number in bodies]
    return next((release for release in good if release != now), None)


def further_back(now: Release, releases: Sequence[Release], bodies: Collection[int]) -> Release | None:
    """The newest release that succeeded before what ``now`` runs was released first."""
    first = origin(now, releases)
    good = [release for release in reversed(releases) if release.result == OK and release.number in bodies]
    return next((release for release in good if release.number < first and origin(release, releases) != first), None)


def origin(release: Release, releases: Sequence[Release]) -> int:
    """The number of the release that first ran what this one runs: for a rollback, the one it went back to."""
    by_number = {entry.number: entry for entry in releases}
    while release.of in by_number and release.of < release.number:
        release = by_number[release.of]
    return release.of or release.number


def next_number(
    used: Collection[int], machines: Collection[str], reached: Collection[str], *, unknown_servers: bool = False
) -> int:
    """The number of a new release, unique even if some servers are unreachable.

    ``used`` are all known numbers, ``machines`` the ids of all servers with records of the app, ``reached`` those
    that answered. Two groups of servers that share one cannot choose the same number twice, because the shared one has
    a record of it. Groups that share none are both incomplete, and their first servers differ. So if any server is
    unreachable, the number modulo the count of all servers is the index of the first one that answered.

    ``unknown_servers``: a server is unreachable whose records are unknown. Then there is no such order, and the first
    number is beyond any that it can have reached.
    """
    number = max(used, default=0) + 1
    if unknown_servers and number <= RESERVED:
        return RESERVED + 1
    servers = sorted(set(machines) | set(reached))
    answered = sorted(reached)
    if not answered or len(answered) == len(servers):
        return number
    first = servers.index(answered[0])
    return number + (first - number) % len(servers)


def kept_slugs(releases: Sequence[Release], keep: int, wanted: str = "") -> tuple[str, ...]:
    """The digests of the ``keep`` slugs to keep: the wanted one if there is one, then the newest of releases that
    ran."""
    slugs = [wanted] if wanted else []
    for release in reversed(releases):
        if release.ran and release.slug not in slugs:
            slugs.append(release.slug)
    return tuple(slugs[:keep])


def kept_bodies(releases: Sequence[Release], slugs: Collection[str], keep: int) -> set[int]:
    """The numbers of the releases whose bodies are kept: for each kept slug, the newest ``keep``."""
    count: Counter[str] = Counter()
    numbers = set()
    for release in reversed(releases):
        if not release.ran or release.slug not in slugs or count[release.slug] == keep:
            continue
        count[release.slug] += 1
        numbers.add(release.number)
    return numbers


def recorded(releases: Sequence[Release], slugs: Collection[str]) -> list[Release]:
    """The releases that servers keep a record of, oldest first. What runs, and what a rollback can go back to (its slug
    is one of ``slugs``), is dropped only after everything that never ran, was rejected or was reverted."""
    now = current(releases)

    def importance(release: Release) -> tuple[bool, bool, int]:
        runs_now = now is not None and release.number == now.number
        return (runs_now, release.ran and release.slug in slugs, release.number)

    return sorted(sorted(releases, key=importance)[-RECORDED:], key=lambda release: release.number)


def unfinished_command(
    releases: Sequence[Release], reached: Collection[str], machines: Collection[str]
) -> Release | None:
    """The newest release whose command may still be running, on one of ``machines`` that is unreachable."""
    unreachable = set(machines) - set(reached)
    return next(
        (release for release in reversed(releases) if release.on in unreachable and not release.commanded), None
    )


def new(number: int, slug: str, content: str, *, manifest: str, of: int = 0, body: str = "") -> Release:
    """A release that no server has a record of yet. ``content`` is the part of ``body`` that determines what runs."""
    salt = secrets.token_hex(16)
    sealed = _digest(salt, body) if body else ""
    return Release(number, slug, _digest(salt, content), salt, manifest=manifest, of=of, sealed=sealed)


def ended(release: Release, result: str, *, before: bool, free: bool) -> Release:
    """The release with the result of an apply. ``before``: dynos had moved to it in an earlier apply, so this one did
    not revert them. ``free``: it has no release command, so once it succeeded it never needs one."""
    if release.result == OK:
        return release
    result = "failed" if result in BACK and before else result
    return replace(release, result=result, commanded=release.commanded or (free and result == OK))


def _digest(salt: str, content: str) -> str:
    return hashlib.sha256((salt + content).encode()).hexdigest()
