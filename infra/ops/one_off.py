"""One-off dynos: the server they run on, the dyno they are like, and which options a user may give."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.errors import DynoctlError, Unreachable
from infra.fleet import meta_record, vitals
from infra.fleet.ask import ask_servers
from infra.manifest.model import Manifest
from infra.manifest.variables import LARGEST, TOTAL, refused, too_large, too_many
from infra.model import answer, merged_releases, naming, paths, release
from infra.model.provider import Fragment
from infra.model.release import Release
from infra.model.run_request import Base, Runs
from infra.model.target import Target
from infra.plan import preconditions
from infra.remote.quote import observation, sections
from infra.remote.session import Session

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TTL = re.compile(r"(\d+)([smhd]?)")
LONGEST = 64 << 10
"""Bytes of a command. It is passed in one variable, which Linux limits to 128 KiB."""

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass
class Place:
    """The open session of the server to run on, and the dyno on it to run like."""

    session: Session
    base: Base


def variables(given: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """Parse ``-e K=V``; ``-e K`` takes the value from ``own``. Raises DynoctlError."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not _NAME.fullmatch(name):
            raise DynoctlError(
                "invalid variable name in -e", "write -e NAME=VALUE, or -e NAME to pass on your own value"
            )
        if why := refused(name):
            raise DynoctlError(f"-e {name} cannot be set: {why}", f"leave out -e {name}")
        if not equals:
            if name not in own:
                raise DynoctlError(f"-e {name}: the variable is not set locally", f"write -e {name}=VALUE")
            value = own[name]
        if not _printable(value):
            raise DynoctlError(f"-e {name}: invalid value: not UTF-8, or with a NUL byte", "pass it on standard input")
        if why := too_large(name, value):
            raise DynoctlError(
                f"-e {why}", f"at most {LARGEST >> 10} KiB, the limit of Linux; pass it on standard input"
            )
        found[name] = value
    if why := too_many(found):
        raise DynoctlError(f"-e: {why}", f"at most {TOTAL >> 10} KiB together; pass the data on standard input")
    return found


def arguments(given: Sequence[str]) -> tuple[str, ...]:
    """The arguments of the command. Raises DynoctlError if they cannot be sent to a server."""
    if not all(_printable(argument) for argument in given):
        raise DynoctlError("invalid command: not UTF-8, or with a NUL byte", "pass such data on standard input")
    if (size := sum(len(argument.encode()) + 1 for argument in given)) > LONGEST:
        raise DynoctlError(
            f"the command is too long: {size >> 10} KiB of at most {LONGEST >> 10} KiB", "pass data on standard input"
        )
    return tuple(given)


def seconds(text: str) -> int:
    """``90``, ``10m``, ``2h`` or ``1d`` in seconds; 0 is no limit. Raises DynoctlError."""
    found = _TTL.fullmatch(text)
    if found is None or len(found[1]) > 7:
        raise DynoctlError(f"invalid time: --ttl {text}", "write 90s, 10m, 2h or 1d; 0 means no limit")
    return int(found[1]) * _SECONDS[found[2]]


def find(manifest: Manifest, runs: Runs, targets: Sequence[Target]) -> Place:
    """Choose the least loaded server with a dyno of the app's current release. The sessions of the others are closed.

    Raises DynoctlError if no server has a dyno of the app, or if a server runs another destination of the app, and
    Unreachable if no server is reachable."""
    app = manifest.app.name
    nonce = secrets.token_hex(12)
    fragments = {"vitals": vitals.fragment(), "bases": runs.observe(app), "records": Fragment(_RECORDS, {"app": app})}
    script = observation(fragments, nonce)

    def ask(session: Session) -> tuple[float, Sequence[Base], Sequence[Release]]:
        parts = sections(session.run(script, what="the list of dynos", proof=f"{nonce} begin").stdout, nonce)
        now = vitals.parse(parts["vitals"][1], app)
        lines = parts["records"][1].splitlines()
        metas = [meta_record.parse(line.removeprefix("meta ")) for line in lines if line.startswith("meta ")]
        applied[session.name] = next(iter(metas), {})
        parsed = [release.parse(answer.record(line)) for line in lines]
        releases = [record for record in parsed if record is not None]
        return now.load[0] / max(1, now.cores), runs.bases(app, parts["bases"][1]), releases

    sessions: dict[str, Session] = {}
    applied: dict[str, Mapping[str, Any]] = {}
    good, errors = ask_servers(targets, ask, keep=sessions)
    try:
        preconditions.refuse_others(manifest, applied)
    except DynoctlError:
        for session in sessions.values():
            session.close()
        raise
    causes = list(errors.values())
    known = merged_releases.merge(releases for *_, releases in good.values())
    newest = release.standing(known) or release.current(known)
    places = [
        ((newest is not None and base.slug != newest.slug, not base.up, load, _order(base)), name, base)
        for name, (load, bases, _) in good.items()
        for base in bases
    ]
    chosen = min(places, key=lambda place: place[:2], default=None)
    for name, session in sessions.items():
        if chosen is None or name != chosen[1]:
            session.close()
    if chosen is not None:
        return Place(sessions[chosen[1]], chosen[2])
    if causes and not good:
        if len(causes) == 1:
            raise causes[0]
        raise Unreachable("no server is reachable", "\n".join(error.summary for error in causes))
    reasons = f" ({'; '.join(error.summary for error in causes)})" if causes else ""
    servers = f"{targets[0].name} has no" if len(targets) == 1 else "no server has a"
    raise DynoctlError(f"{servers} dyno of {app} whose release a one-off dyno could run{reasons}", "dynoctl apply")


def _order(base: Base) -> tuple[bool, tuple[str, int]]:
    """The sort key of a dyno: web dynos first."""
    return not base.dyno.startswith("web."), naming.dyno_order(base.dyno)


def _printable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


_RECORDS = f"""\
printf 'meta '; cat "{paths.STATE}/$app/meta.json" 2>/dev/null || echo
cat "{paths.STATE}/$app"/releases/*.json 2>/dev/null
:
"""
