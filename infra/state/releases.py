"""Read the releases of an app from the records of all servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from infra.errors import DynoctlError, NewerRecords, Unreachable
from infra.fleet import meta_record
from infra.fleet.ask import ask_servers, summaries
from infra.fleet.meta_record import parse_line
from infra.model import lock_holder, paths, release
from infra.model.lock_holder import Holder
from infra.model.release import Release
from infra.model.resource import Command
from infra.model.target import Target
from infra.remote.session import Session
from infra.state.release_body import Stored, content, unpack

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
    answers, errors = ask_servers(targets, lambda session: session.execute(command)[1], keep=sessions)
    found: list[list[Release]] = []
    holders: dict[int, tuple[str, ...]] = {}
    metas: list[Mapping[str, Any]] = []
    for server, answer in answers.items():
        releases = []
        for line in answer.splitlines():
            key, _, number = line.partition(" ")
            if key == "meta":
                with suppress(NewerRecords):  # observing the server reports them
                    metas.append(meta_record.parse(number))
            elif key == "body" and number.isdigit():
                holders[int(number)] = (*holders.get(int(number), ()), server)
            elif (parsed := release.parse(parse_line(line))) is not None:
                releases.append(parsed)
        found.append(releases)
    applying = lock_holder.holders(lock_holder.read(answer) for answer in answers.values())
    meta = max(metas, key=lambda meta: int(meta.get("serial", 0)), default={})
    return Survey(release.merge(found), holders, summaries(errors), applying, meta)


def body(app: str, wanted: Release, holders: Sequence[str], sessions: Mapping[str, Session]) -> str:
    """The body of a release, from the first server that has it.

    A body that is damaged, or that another apply wrote under the same number, is not accepted. Raises DynoctlError if
    no server has the body."""
    for name in holders:
        with suppress(Unreachable):
            status, text = sessions[name].execute(Command(("cat", paths.release_body(app, wanted.number))))
            if status == 0 and wanted.runs(content(text)):
                return text
    raise DynoctlError(
        f"cannot roll back to v{wanted.number}: no server has the contents of the release",
        "see which releases can be rolled back to: dynoctl releases",
    )


def running(
    app: str, targets: Sequence[Target], fits: Callable[[str, str], bool], sessions: dict[str, Session]
) -> tuple[Stored, Mapping[str, Any]] | None:
    """The release that more dynos may start from, and the newest record of the formation; None if nothing is recorded
    on a reachable server. Raises DynoctlError if no reachable server has the contents of the release."""
    surveyed = survey(app, targets, sessions)
    now = release.in_force(surveyed.releases)
    if now is None or not surveyed.meta:
        return None
    holders = surveyed.holders.get(now.number, ())
    try:
        text = body(app, now, holders, sessions)
    except DynoctlError:
        raise DynoctlError(
            f"cannot read the running release v{now.number}: no reachable server has its contents",
            "to use dyno.yaml and the source instead: --with-changes",
        ) from None
    return unpack(now.number, text, fits), surveyed.meta


def stored(
    app: str,
    name: str | None,
    targets: Sequence[Target],
    fits: Callable[[str, str], bool],
    sessions: dict[str, Session],
) -> tuple[Stored, Mapping[str, Any]]:
    """The release to roll back to, the named one or the last good one, and the newest record of the formation. Raises
    DynoctlError if there is none."""
    surveyed = survey(app, targets, sessions)
    if not surveyed.releases and surveyed.unreachable:
        raise DynoctlError("cannot read the releases: no server is reachable", "\n".join(surveyed.unreachable.values()))
    if name is not None:
        chosen: Release | None = surveyed.named(name)
    else:
        chosen = release.last_good(surveyed.releases, surveyed.holders)
    if chosen is None:
        raise DynoctlError("no earlier successful release to roll back to", "list the releases: dynoctl releases")
    if chosen.result in release.BACK:
        raise DynoctlError(
            f"cannot roll back to v{chosen.number}: it was {chosen.result} and never ran on all dynos",
            "choose a successful release: dynoctl releases",
        )
    text = body(app, chosen, surveyed.holders.get(chosen.number, ()), sessions)
    return unpack(chosen.number, text, fits), surveyed.meta
