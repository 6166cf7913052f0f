"""What the servers remember of an app's releases: read over SSH, a connection and a script for each."""

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
    """All releases that are known, oldest first; the servers that hold what is needed to make one again, by its
    number; and why some servers did not answer."""

    releases: tuple[Release, ...]
    holders: Mapping[int, tuple[str, ...]]
    lost: Mapping[str, str]

    def named(self, name: str) -> Release:
        """The release called ``v7`` or ``7``. Raises DynoctlError where nobody remembers it."""
        digits = name.removeprefix("v")
        for one in self.releases:
            if digits == str(one.number):
                return one
        known = f"There is: {', '.join(f'v{one.number}' for one in self.releases[-10:])}." if self.releases else ""
        raise DynoctlError(f"There is no release {name}", known or "Nothing was released yet.")


def survey(app: str, targets: Sequence[Target], sessions: dict[str, Session]) -> Survey:
    """Ask every server. ``sessions`` gets those that were opened, by server; the caller closes them."""
    command = Command(("sh", "-c", _LIST, "releases", paths.home(app)))
    answers, errors = ask_servers(targets, lambda session: session.execute(command)[1], keep=sessions)
    found: list[list[Release]] = []
    holders: dict[int, tuple[str, ...]] = {}
    for server, answer in answers.items():
        releases = []
        for line in answer.splitlines():
            word, _, number = line.partition(" ")
            if word == "body" and number.isdigit():
                holders[int(number)] = (*holders.get(int(number), ()), server)
            elif (one := release.parse(parse_line(line))) is not None:
                releases.append(one)
        found.append(releases)
    return Survey(release.merge(found), holders, summaries(errors))


def body(app: str, one: Release, holders: Sequence[str], sessions: Mapping[str, Session]) -> str:
    """All that a release runs, from the first server that has it whole, and just that: what was written of it under the
    same number by another apply, or was damaged, is not it. Raises DynoctlError where none has."""
    for name in holders:
        with suppress(Unreachable):
            status, text = sessions[name].execute(Command(("cat", f"{paths.releases(app)}/{one.number}.body")))
            if status == 0 and one.runs(content(text)):
                return text
    raise DynoctlError(
        f"v{one.number} is remembered, but not what it ran", "dynoctl releases shows which ones can be gone back to."
    )


def stored(
    app: str,
    name: str | None,
    targets: Sequence[Target],
    fits: Callable[[str, str], bool],
    sessions: dict[str, Session],
) -> Stored:
    """The release to go back to: the named one, or else the last good one. Raises DynoctlError where there is none."""
    known = survey(app, targets, sessions)
    if not known.releases and known.lost:
        raise DynoctlError("No server said what was released", "\n".join(known.lost.values()))
    if name is not None:
        one: Release | None = known.named(name)
    else:
        one = release.last_good(known.releases, known.holders)
    if one is None:
        raise DynoctlError(
            "There is no earlier good release to go back to", "dynoctl releases lists what the servers remember."
        )
    if one.result in release.BACK:
        raise DynoctlError(
            f"v{one.number} was {one.result}: it never ran on all dynos", "Choose one that ended well: dynoctl releases"
        )
    text = body(app, one, known.holders.get(one.number, ()), sessions)
    return unpack(one.number, text, fits)
