"""The logins on each server since a given time, from the server's journal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.errors import DynoctlError
from infra.model.resource import Command
from infra.model.shell import Session
from infra.remote.parallel import each

MOST = 500
"""Maximum number of lines read from each server's journal."""

# Any process may log as sshd. journald says as which user it ran, and no process of an app runs as root.
_SCRIPT = """\
journalctl -q --no-pager -o short-iso -r -n "$2" --since "$1" -t sshd -t sshd-session -g '^Accepted ' _UID=0 2>/dev/null
:
"""

_LINE = re.compile(r"^(?P<when>\S+) .*?: Accepted \S+ for (?P<who>\S+) from (?P<where>\S+) port ")


@dataclass(frozen=True)
class Login:
    """The logins of a user from an address: how many, and when the last one was (ISO 8601, by the server's clock)."""

    who: str
    where: str
    times: int
    last: str


def since(moment: str, sessions: Mapping[str, Session], servers: Iterable[str]) -> dict[str, list[Login]]:
    """The logins on each server since ``moment`` (UTC, ISO 8601), latest first, dynoctl's own included. Unreachable
    servers are left out."""
    argv = ("sh", "-c", _SCRIPT, "logins", moment.replace("T", " ").replace("Z", " UTC"), str(MOST))
    answers = each(lambda name: sessions[name].execute(Command(argv))[1], servers)
    return {name: parse(answer) for name, answer in answers.items() if not isinstance(answer, DynoctlError)}


def parse(journal: str) -> list[Login]:
    """Parse the logins in the lines of a journal, newest first."""
    found: dict[tuple[str, str], Login] = {}
    for line in journal.splitlines():
        if match := _LINE.match(line):
            key = (match["who"], match["where"])
            known = found.get(key, Login(*key, 0, match["when"]))
            found[key] = Login(*key, known.times + 1, known.last)
    return sorted(found.values(), key=lambda login: login.last, reverse=True)
