"""The state of every dyno of an app, on all servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.errors import Unreachable
from infra.fleet.ask import ask_servers, by_outcome, summaries
from infra.model import lock_holder, naming, routing
from infra.model.answer import reading
from infra.model.dyno_status import Reader, Row
from infra.model.provider import Fragment, Scope
from infra.model.routing import Route
from infra.model.shell import Session
from infra.model.target import Target
from infra.remote.parallel import each


def list_dynos(
    app: str,
    reader: Reader,
    targets: Sequence[Target],
    sessions: Mapping[str, Session] | None = None,
    routes: dict[str, tuple[Route, ...]] | None = None,
    holders: dict[str, str] | None = None,
) -> tuple[list[Row], dict[str, str]]:
    """Every dyno, in order, and why some servers are unreachable.

    ``sessions``, if given, has an open session for each target; they stay open. The routes of each server are added to
    ``routes``, and who holds the app's lock there to ``holders``."""
    scope = Scope(app, "")
    fragments = {
        "processes": reader.observe(scope),
        "routes": Fragment(f"{routing.SCRIPT}:\n"),
        "lock": Fragment(f"{lock_holder.SCRIPT}:\n", {"app": app}),
    }

    def list_on(session: Session) -> Sequence[Row]:
        parts = session.observe(fragments)
        status, text = parts.get("processes", (1, ""))
        if routes is not None:
            routes[session.name] = routing.read(parts.get("routes", (1, ""))[1])
        if holders is not None:
            holders[session.name] = lock_holder.read(parts.get("lock", (1, ""))[1])
        if status != 0:
            raise Unreachable(f"cannot list the dynos of {session.name}: {text.strip()[-200:]}")
        return reader.parse(scope, session.name, text)

    if sessions is None:
        answers, errors = ask_servers(targets, list_on)
    else:
        opened = sessions

        def ask(name: str) -> Sequence[Row]:
            with reading(name):
                return list_on(opened[name])

        answers, errors = by_outcome(each(ask, [target.name for target in targets]))
    rows = [row for found in answers.values() for row in found]
    return sorted(rows, key=lambda row: (naming.dyno_order(row.dyno), row.server)), summaries(errors)
