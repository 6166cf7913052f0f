"""What every dyno of an app is doing, over the whole fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.errors import DynoctlError, Unreachable
from infra.model import naming, routing
from infra.model.dyno_status import Reader, Row
from infra.model.provider import Fragment, Scope
from infra.model.routing import Route
from infra.model.shell import Session
from infra.model.target import Target
from infra.remote import session as ssh
from infra.remote.parallel import each


def list_dynos(
    app: str,
    reader: Reader,
    targets: Sequence[Target],
    sessions: Mapping[str, Session] | None = None,
    routes: dict[str, tuple[Route, ...]] | None = None,
) -> tuple[list[Row], dict[str, str]]:
    """Every dyno by name, and why some servers did not answer. ``sessions`` that are open are used, not closed;
    ``routes`` gets what each server's router does."""
    scope = Scope(app, "")
    fragments = {"processes": reader.observe(scope), "routes": Fragment(f"{routing.SCRIPT}:\n")}
    known = sessions or {}

    def look(target: Target) -> Sequence[Row]:
        session = known.get(target.name) or ssh.Session(target)
        try:
            parts = session.observe(fragments)
        finally:
            if target.name not in known:
                session.close()
        status, text = parts.get("processes", (1, ""))
        if routes is not None:
            routes[target.name] = routing.read(parts.get("routes", (1, ""))[1])
        if status != 0:
            raise Unreachable(f"{target.name}: listing its dynos failed: {text.strip()[-200:]}")
        return reader.parse(scope, target.name, text)

    rows: list[Row] = []
    lost: dict[str, str] = {}
    for target, result in each(look, targets).items():
        if isinstance(result, DynoctlError):
            lost[target.name] = result.summary
        else:
            rows += result
    return sorted(rows, key=lambda row: (naming.dyno_order(row.dyno), row.server)), lost
