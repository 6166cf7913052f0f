"""Read the releases of an app from the records of all servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from infra.errors import DynoctlError, Unreachable
from infra.fleet.ask import ask_servers, summaries
from infra.model import paths, release
from infra.model.release import Release
from infra.model.resource import Command
from infra.model.target import Target
from infra.remote.session import Session
from infra.state.records import parse_line
from infra.state.release_body import Stored, content, unpack

_LIST = """\
cat "$1"/releases/*.json 2>/dev/null
for file in "$1"/releases/*.body; do [ -e "$file" ] && { file=${file##*/}; echo "body ${file%.body}"; }; done
:
"""


@dataclass(frozen=True)
class Survey:
    """All known releases, oldest first; by number, the servers that have the body of the release; and why some servers
    are unreachable."""

    releases: tuple[Release, ...]
    holders: Mapping[int, tuple[str, ...]]
    unreachable: Mapping[str, str]

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
    command = Command(("sh", "-c", _LIST, "releases", paths.home(app)))
    answers, errors = ask_servers(targets, lambda session: session.execute(command)[1], keep=sessions)
    found: list[list[Release]] = []
    holders: dict[int, tuple[str, ...]] = {}
    for server, answer in answers.items():
        releases = []
        for line in answer.splitlines():
            key, _, number = line.partition(" ")
            if key == "body" and number.isdigit():
                holders[int(number)] = (*holders.get(int(number), ()), server)
            elif (parsed := release.parse(parse_line(line))) is not None:
                releases.append(parsed)
        found.append(releases)
    return Survey(release.merge(found), holders, summaries(errors))


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


def stored(
    app: str,
    name: str | None,
    targets: Sequence[Target],
    fits: Callable[[str, str], bool],
    sessions: dict[str, Session],
) -> Stored:
    """The release to roll back to: the named one, or the last good one. Raises DynoctlError if there is none."""
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
    return unpack(chosen.number, text, fits)
