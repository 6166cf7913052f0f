"""One-off dynos: on which server one runs, what it is started from, and what a user may ask of it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.errors import DynoctlError, Unreachable
from infra.fleet import vitals
from infra.fleet.ask import ask_servers
from infra.manifest.variables import refused
from infra.model import naming, paths, release
from infra.model.provider import Fragment
from infra.model.release import Release
from infra.model.run_request import Base, Runs
from infra.model.target import Target
from infra.remote.quote import observation, sections
from infra.remote.session import Session
from infra.state.records import parse_line

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TTL = re.compile(r"(\d+)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass
class Place:
    """Where it runs: a session that is open, and the dyno there that it is like."""

    session: Session
    base: Base


def variables(given: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """What ``-e K=V`` says; ``-e K`` takes the value from ``own``. Raises DynoctlError."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not _NAME.fullmatch(name):
            raise DynoctlError("-e: that is no variable's name", "Write NAME=VALUE, or NAME to take your own value.")
        if why := refused(name):
            raise DynoctlError(f"-e {name}: it cannot be set. {why}")
        if not equals:
            if name not in own:
                raise DynoctlError(f"-e {name}: it is not set here", f"Write -e {name}=VALUE.")
            value = own[name]
        if not _printable(value):
            raise DynoctlError(f"-e {name}: its value is no UTF-8, or holds a NUL")
        found[name] = value
    return found


def words(given: Sequence[str]) -> tuple[str, ...]:
    """The command's words. Raises DynoctlError where a server could not be told them."""
    if not all(_printable(word) for word in given):
        raise DynoctlError("The command is no UTF-8")
    return tuple(given)


def seconds(text: str) -> int:
    """``90``, ``10m``, ``2h`` or ``1d`` in seconds; 0 is no limit. Raises DynoctlError."""
    found = _TTL.fullmatch(text)
    if found is None or len(found[1]) > 7:
        raise DynoctlError(f"--ttl {text}: that is no time", "Write 90s, 10m, 2h or 1d; 0 means no limit.")
    return int(found[1]) * _SECONDS[found[2]]


def find(app: str, runs: Runs, targets: Sequence[Target]) -> Place:
    """The least loaded server that has what the app's newest release runs. The sessions with all others are closed.

    Raises DynoctlError where no server has a dyno of the app, or Unreachable where none answers."""
    nonce = secrets.token_hex(12)
    fragments = {"vitals": vitals.fragment(), "bases": runs.observe(app), "releases": Fragment(_RELEASES, {"app": app})}
    script = observation(fragments, nonce)

    def ask(session: Session) -> tuple[float, Sequence[Base], Sequence[Release]]:
        parts = sections(session.run(script).stdout, nonce)
        try:
            now = vitals.parse(parts["vitals"][1])
            lines = [release.parse(parse_line(line)) for line in parts["releases"][1].splitlines()]
            known = [one for one in lines if one is not None]
            return now.load[0] / max(1, now.cores), runs.bases(app, parts["bases"][1]), known
        except (KeyError, ValueError, IndexError):
            raise DynoctlError(f"{session.name}: what the server said cannot be read") from None

    sessions: dict[str, Session] = {}
    good, errors = ask_servers(targets, ask, keep=sessions)
    lost = list(errors.values())
    newest = release.current(release.merge(known for *_, known in good.values()))
    places = [
        ((newest is not None and base.slug != newest.slug, not base.up, load, _order(base)), name, base)
        for name, (load, bases, _) in good.items()
        for base in bases
    ]
    chosen = min(places, key=lambda one: one[:2], default=None)
    for name, session in sessions.items():
        if chosen is None or name != chosen[1]:
            session.close()
    if chosen is not None:
        return Place(sessions[chosen[1]], chosen[2])
    if lost and not good:
        raise lost[0] if len(lost) == 1 else Unreachable("No server answers", "\n".join(one.summary for one in lost))
    away = f" ({'; '.join(one.summary for one in lost)})" if lost else ""
    where = f"{targets[0].name} has" if len(targets) == 1 else "No server has"
    no = "no" if len(targets) == 1 else "a"
    raise DynoctlError(f"{where} {no} dyno of {app} to run a one-off one like{away}", "Apply first: dynoctl apply")


def _order(base: Base) -> tuple[bool, tuple[str, int]]:
    """A web dyno before all others."""
    return not base.dyno.startswith("web."), naming.dyno_order(base.dyno)


def _printable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


_RELEASES = f"""\
cat "{paths.STATE}/$app"/releases/*.json 2>/dev/null
:
"""
