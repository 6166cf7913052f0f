"""The state of an app on all its servers: dynos, routes with their requests, one-off dynos, and who applies it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from infra.errors import Unreachable
from infra.fleet import latest_releases
from infra.fleet.ask import ask_servers, by_outcome, summaries
from infra.model import lock_holder, naming, one_offs, paths, routing, traffic
from infra.model.answer import reading
from infra.model.dyno_status import Reader, Row
from infra.model.one_offs import OneOff
from infra.model.provider import Fragment, Scope
from infra.model.release import Release
from infra.model.routing import Route
from infra.model.shell import Observable, Session, ask
from infra.model.target import Target
from infra.model.traffic import Traffic
from infra.remote.parallel import each


@dataclass(frozen=True)
class ServerStatus:
    """What one server says. ``holder`` is who holds the app's lock, in the words of ``lock_holder``, or "";
    ``traffic`` is None if it has no router of the app."""

    rows: Sequence[Row] = ()
    routes: tuple[Route, ...] = ()
    holder: str = ""
    traffic: Traffic | None = None
    one_offs: tuple[OneOff, ...] = ()
    routed: bool = False
    """Whether an apply has made a router of the app there, by its records."""
    releases: tuple[Release, ...] = ()
    """The latest ones, as ``latest_releases`` reads them."""


_ROUTED = f"""\
[ ! -e "{paths.STATE}/$app/applied/router.$app.json" ] || echo routed
"""


def fragments(app: str, reader: Reader) -> dict[str, Fragment]:
    """The sh fragments whose output ``parse`` reads."""
    return {
        "processes": reader.observe(Scope(app, "")),
        "routes": Fragment(f"{routing.SCRIPT}{_ROUTED}:\n", {"app": app}),
        "lock": Fragment(f"{lock_holder.SCRIPT}:\n", {"app": app}),
        "traffic": Fragment(f"{traffic.SCRIPT}:\n", {"app": app}),
        "one_offs": Fragment(f"{one_offs.SCRIPT}:\n", {"app": app}),
        "releases": Fragment(f"{latest_releases.SCRIPT}:\n", {"app": app}),
    }


def parse(app: str, reader: Reader, server: str, parts: Mapping[str, tuple[int, str]]) -> ServerStatus:
    """Parse the output of the fragments. Raises Unreachable if the dynos could not be listed."""
    status, text = parts.get("processes", (1, ""))
    if status != 0:
        raise Unreachable(f"cannot list the dynos of {server}: {text.strip()[-200:]}")
    return ServerStatus(
        reader.parse(Scope(app, ""), server, text),
        routing.read(parts.get("routes", (1, ""))[1]),
        lock_holder.read(parts.get("lock", (1, ""))[1]),
        traffic.read(parts.get("traffic", (1, ""))[1]),
        one_offs.read(parts.get("one_offs", (1, ""))[1], app),
        "routed" in parts.get("routes", (1, ""))[1].splitlines(),
        releases=latest_releases.read(parts.get("releases", (1, ""))[1]),
    )


def look(
    app: str, reader: Reader, targets: Sequence[Target], sessions: Mapping[str, Session] | None = None
) -> tuple[dict[str, ServerStatus], dict[str, str]]:
    """The status of every server, and why some are unreachable. ``sessions``, if given, has an open session for each
    target; they stay open."""
    question = partial(_answer, app, reader, fragments(app, reader))
    if sessions is None:
        answers, errors = ask_servers(targets, lambda session: ask(session, question))
    else:
        opened = sessions

        def ask_opened(name: str) -> ServerStatus:
            with reading(name):
                return ask(opened[name], question)

        answers, errors = by_outcome(each(ask_opened, [target.name for target in targets]))
    return answers, summaries(errors)


def _answer(app: str, reader: Reader, asked: Mapping[str, Fragment], server: Observable) -> ServerStatus:
    return parse(app, reader, server.name, server.observe(asked))


def list_dynos(found: Mapping[str, ServerStatus]) -> list[Row]:
    """Every dyno, in order."""
    rows = [row for status in found.values() for row in status.rows]
    return sorted(rows, key=lambda row: (naming.dyno_order(row.dyno), row.server))
