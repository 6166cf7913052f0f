"""The errors of a plan: of many servers with the same error, one for all."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from infra.errors import Diagnostic
from infra.model.ranges import shortened
from infra.plan.plan import Plan
from infra.views.unreachable import ALIKE, without

_FIRST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


def folded(plan: Plan) -> list[Diagnostic]:
    """The errors in their order. Up to ``ALIKE`` servers with the same error have one each."""
    servers = {*plan.fleet, *plan.candidates, *plan.leaving, *plan.formation.homes.values()}
    alike: dict[Diagnostic, list[str]] = {}
    shapes = [_shape(error, servers) for error in plan.errors]
    for server, shape in shapes:
        alike.setdefault(shape, []).append(server)
    found: list[Diagnostic] = []
    said: set[Diagnostic] = set()
    for error, (server, shape) in zip(plan.errors, shapes, strict=True):
        same = alike[shape]
        if not server or len(same) <= ALIKE:
            found.append(error)
        elif shape not in said:
            said.add(shape)
            names, hint = shortened(same, "server"), shape.hint.replace("\0", "SERVER")
            found.append(replace(error, summary=shape.summary.replace("\0", names), hint=hint))
    return found


def _shape(error: Diagnostic, servers: Collection[str]) -> tuple[str, Diagnostic]:
    """The server that an error begins with, if it does, and the error with a place for its name."""
    first = _FIRST.match(error.summary)
    server = first[0] if first is not None and first[0] in servers else ""
    if not server:
        return "", error
    return server, replace(error, summary=without(server, error.summary), hint=without(server, error.hint))
