"""Read the releases of an app from the records of all servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from infra.errors import DynoctlError, NewerRecords, Unreachable
from infra.fleet import meta_record
from infra.fleet.ask import ask_servers, summaries
from infra.model import answer, lock_holder, merged_releases, paths, release
from infra.model.lock_holder import Holder
from infra.model.release import Release
from infra.model.resource import Command
from infra.model.target import Target
from infra.remote.session import Session
from infra.state.release_body import Stored, content, unpack
from infra.state.vouching import ENOUGH, NOTHING, Known, Vouched, agreeing, copied, seal, seal_settings, vouchers

_LIST = f"""\
cat "$1"/releases/*.json 2>/dev/null
for file in "$1"/releases/*.body; do [ -e "$file" ] && {{ file=${{file##*/}}; echo "body ${{file%.body}}"; }}; done
printf 'meta '; cat "$1/meta.json" 2>/dev/null || echo
app=$2
{lock_holder.SCRIPT}:
"""


@dataclass(frozen=True)
class Survey:
    """All known releases, oldest first; by number, the servers that have the body of the release; why some servers are
    unreachable; and who applies something at this moment."""

    releases: tuple[Release, ...]
    holders: Mapping[int, tuple[str, ...]]
    unreachable: Mapping[str, str]
    applying: tuple[Holder, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    """The newest record of the formation."""
    records: Mapping[str, tuple[Release, ...]] = field(default_factory=dict)
    """The releases by server, as each records them."""
    metas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The record of the formation by server."""

    def named(self, name: str) -> Release:
        """The release named ``v7`` or ``7``. Raises DynoctlError if no server has a record of it."""
        digits = name.removeprefix("v")
        for entry in self.releases:
            if digits == str(entry.number):
                return entry
        latest = ", ".join(f"v{entry.number}" for entry in self.releases[-10:])
        raise DynoctlError(
            f"release {name} not found", f"available: {latest}" if latest else "there are no releases yet"
        )


def survey(app: str, targets: Sequence[Target], sessions: dict[str, Session]) -> Survey:
    """Read the releases of every server. Opened sessions are added to ``sessions``; the caller closes them."""
    command = Command(("sh", "-c", _LIST, "releases", paths.home(app), app))
    answers, errors = ask_servers(targets, lambda session: parse(session.execute(command)[1]), keep=sessions)
    holders: dict[int, tuple[str, ...]] = {}
    for server, told in answers.items():
        for number in told.bodies:
            holders[number] = (*holders.get(number, ()), server)
    applying = lock_holder.holders(told.holder for told in answers.values())
    metas = {server: told.meta for server, told in answers.items()}
    meta = meta_record.newest(metas.values())
    found = {server: told.releases for server, told in answers.items()}
    return Survey(
        merged_releases.merge(found.values()), holders, summaries(errors), applying, meta, records=found, metas=metas
    )


@dataclass(frozen=True)
class Told:
    """What one server says about the releases."""

    releases: tuple[Release, ...]
    bodies: frozenset[int]
    meta: Mapping[str, Any]
    holder: str


def parse(output: str) -> Told:
    """Parse what a server says about the releases. Lines that cannot be read are left out."""
    releases: list[Release] = []
    bodies: set[int] = set()
    meta: Mapping[str, Any] = {}
    for line in output.splitlines():
        key, _, rest = line.partition(" ")
        if key == "meta":
            with suppress(NewerRecords):  # observing the server reports them
                meta = meta_record.parse(rest)
        elif key == "body" and (number := answer.digits(rest)):
            bodies.add(number)
        elif (parsed := release.parse(answer.record(line))) is not None:
            releases.append(parsed)
    return Told(tuple(releases), frozenset(bodies), meta, lock_holder.read(output))


def body(app: str, wanted: Release, holders: Sequence[str], sessions: Mapping[str, Session]) -> str:
    """The body of a release, from the first server that has it.

    A body that is damaged, or that another apply wrote under the same number, is not accepted. Raises DynoctlError if
    no server has the body."""
    return _body(app, wanted, holders, sessions)[0]


def _body(
    app: str, wanted: Release, holders: Sequence[str], sessions: Mapping[str, Session]
) -> tuple[str, frozenset[str]]:
    """The body of a release, and the servers that have the same one. The record of an older dynoctl says nothing about
    parts of it, such as the packages, so then all servers are asked, and the body of most of them is taken."""
    found: dict[str, list[str]] = {}
    for name in holders:
        with suppress(Unreachable):
            status, text = sessions[name].execute(Command(("cat", paths.release_body(app, wanted.number))))
            text = text.removesuffix("\n")  # a record is a line
            if status != 0 or not wanted.runs(content(text)):
                continue
            if wanted.seals(text):
                return text, frozenset(holders)
            if not wanted.sealed:
                found.setdefault(text, []).append(name)
    if found:
        text, names = max(found.items(), key=lambda item: len(item[1]))
        return text, frozenset(names)
    raise DynoctlError(
        f"cannot roll back to v{wanted.number}: no server has the contents of the release",
        "see which releases can be rolled back to: dynoctl releases",
    )


@dataclass(frozen=True)
class Trust:
    """What vouches for records besides several servers: what this computer has ``known`` since it applied it, and the
    ``servers`` that the user trusts."""

    known: Known = NOTHING
    servers: frozenset[str] = frozenset()


NONE = Trust()


def _trusted(surveyed: Survey, trust: Trust) -> Survey:
    """What is known, from the servers that the user trusts only, if any are named."""
    unknown = trust.servers - surveyed.records.keys()
    if unknown:
        raise DynoctlError(
            f"cannot trust {', '.join(sorted(unknown))}: unreachable, or without records of the app",
            f"available: {', '.join(surveyed.records)}" if surveyed.records else "see which servers answer: dynoctl ps",
        )
    if not trust.servers:
        return surveyed
    records = {name: releases for name, releases in surveyed.records.items() if name in trust.servers}
    metas = {name: meta for name, meta in surveyed.metas.items() if name in trust.servers}
    holders = {
        number: kept
        for number, names in surveyed.holders.items()
        if (kept := tuple(name for name in names if name in trust.servers))
    }
    meta = meta_record.newest(metas.values())
    merged = merged_releases.merge(records.values())
    return replace(surveyed, releases=merged, holders=holders, meta=meta, records=records, metas=metas)


def _vouched(wanted: Release, having: frozenset[str], surveyed: Survey, trust: Trust) -> Vouched:
    """Who vouches for a release whose body the servers ``having`` have."""
    agree = vouchers(wanted, surveyed.records)
    known = bool(trust.servers) or (bool(wanted.sealed) and seal(wanted) in trust.known.releases)
    return Vouched(f"v{wanted.number}", agree if wanted.sealed else agree & having, known)


def _settings(surveyed: Survey, trust: Trust) -> Vouched:
    """Who vouches for the settings of the newest record of the formation."""
    settings = surveyed.meta.get("config")
    known = settings is None or bool(trust.servers) or seal_settings(settings) in trust.known.settings
    return Vouched("the record of the settings", agreeing(settings, surveyed.metas), known)


def _choose(surveyed: Survey, trust: Trust, choose: Callable[[Sequence[Release]], Release | None]) -> Release | None:
    """The release that is chosen from all that are known. Raises DynoctlError if it would be another one without those
    that only one of several servers knows: it may have made them up."""
    chosen = choose(surveyed.releases)
    recording = [name for name, releases in surveyed.records.items() if releases]
    if trust.servers or len(recording) < ENOUGH or chosen is None:
        return chosen
    sure = [entry for entry in surveyed.releases if copied(entry, surveyed.records, trust.known)]
    doubtful = [entry for entry in surveyed.releases if entry not in sure]
    again = choose(sure)
    if again is None or again.number == chosen.number or not doubtful:
        return chosen
    entry = doubtful[-1]
    alone = ", ".join(sorted(vouchers(entry, surveyed.records)))
    raise DynoctlError(
        f"cannot tell which release runs: only {alone} has a record of v{entry.number}, and it may be forged",
        f"name the release: dynoctl rollback v{again.number}; or if {alone} is right: --trust {alone}",
    )


def _unpacked(
    wanted: Release,
    text: str,
    having: frozenset[str],
    surveyed: Survey,
    fits: Callable[[str, str], bool],
    trust: Trust,
) -> tuple[Stored, Mapping[str, Any]]:
    """A release from its body, which the servers ``having`` have, with who vouches for it, and the newest record."""
    vouched = (_vouched(wanted, having, surveyed, trust),)
    made = unpack(wanted.number, text, fits)
    return replace(made, vouched=vouched, settings=_settings(surveyed, trust)), surveyed.meta


def running(
    app: str,
    targets: Sequence[Target],
    fits: Callable[[str, str], bool],
    sessions: dict[str, Session],
    trust: Trust = NONE,
) -> tuple[Stored, Mapping[str, Any]] | None:
    """The release that more dynos may start from, and the newest record of the formation; None if nothing is recorded
    on a reachable server. Raises DynoctlError if no reachable server has the contents of the release."""
    surveyed = _trusted(survey(app, targets, sessions), trust)
    now = _choose(surveyed, trust, release.in_force)
    if now is None or not meta_record.serial_of(surveyed.meta):
        return None
    holders = surveyed.holders.get(now.number, ())
    try:
        text, having = _body(app, now, holders, sessions)
    except DynoctlError:
        raise DynoctlError(
            f"cannot read the running release v{now.number}: no reachable server has its contents",
            "to use dyno.yaml and the source instead: --with-changes",
        ) from None
    return _unpacked(now, text, having, surveyed, fits, trust)


def stored(
    app: str,
    name: str | None,
    targets: Sequence[Target],
    fits: Callable[[str, str], bool],
    sessions: dict[str, Session],
    trust: Trust = NONE,
) -> tuple[Stored, Mapping[str, Any]]:
    """The release to roll back to, the named one or the last good one, and the newest record of the formation. Raises
    DynoctlError if there is none."""
    surveyed = _trusted(survey(app, targets, sessions), trust)
    if not surveyed.releases and surveyed.unreachable:
        raise DynoctlError("cannot read the releases: no server is reachable", "\n".join(surveyed.unreachable.values()))
    if name is not None:
        chosen: Release | None = surveyed.named(name)
    else:
        chosen = _choose(surveyed, trust, lambda releases: release.last_good(releases, surveyed.holders))
    if chosen is None:
        raise DynoctlError("no earlier successful release to roll back to", "list the releases: dynoctl releases")
    if chosen.result in release.BACK:
        raise DynoctlError(
            f"cannot roll back to v{chosen.number}: it was {chosen.result} and never ran on all dynos",
            "choose a successful release: dynoctl releases",
        )
    text, having = _body(app, chosen, surveyed.holders.get(chosen.number, ()), sessions)
    return _unpacked(chosen, text, having, surveyed, fits, trust)
