"""Who logged in to a server since a moment, as its journal tells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.errors import DynoctlError
from infra.model.resource import Command
from infra.model.shell import Session
from infra.remote.parallel import each

MOST = 500
"""Lines of each server's journal that are read."""

_SCRIPT = """\
journalctl -q --no-pager -o short-iso -n "$2" --since "$1" -t sshd -t sshd-session -g '^Accepted ' 2>/dev/null
:
"""

_LINE = re.compile(r"^(?P<when>\S+) .*?: Accepted \S+ for (?P<who>\S+) from (?P<where>\S+) port ")


@dataclass(frozen=True)
class Login:
    """One login from one place: how often, and when last (ISO 8601, as the server's clock has it)."""

    who: str
    where: str
    times: int
    last: str


def since(moment: str, sessions: Mapping[str, Session], servers: Iterable[str]) -> dict[str, list[Login]]:
    """The logins on each server since ``moment`` (UTC, ISO 8601), the latest first. A server that does not tell, or
    does not answer, has none. dynoctl's own are among them: it comes in as anybody does."""
    argv = ("sh", "-c", _SCRIPT, "logins", moment.replace("T", " ").replace("Z", " UTC"), str(MOST))
    answers = each(lambda name: sessions[name].execute(Command(argv))[1], servers)
    return {name: parse(answer) for name, answer in answers.items() if not isinstance(answer, DynoctlError)}


def parse(journal: str) -> list[Login]:
    """Logins from lines of a journal."""
    found: dict[tuple[str, str], Login] = {}
    for line in journal.splitlines():
        if match := _LINE.match(line):
            key = (match["who"], match["where"])
            times = found[key].times if key in found else 0
            found[key] = Login(*key, times + 1, match["when"])
    return sorted(found.values(), key=lambda one: one.last, reverse=True)
