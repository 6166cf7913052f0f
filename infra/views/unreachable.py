"""Servers that do not answer: a line each with its dynos; of many that fail in the same way, one line for all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from infra.model import naming
from infra.model.ranges import shortened
from infra.model.text import quantity
from infra.plan.plan import Plan
from infra.views.style import Style, one_line

ALIKE = 6
"""Servers that fail in the same way and have a line each."""


@dataclass(frozen=True)
class Group:
    """Servers that fail in the same way. ``summary`` names them all."""

    summary: str
    hint: str
    servers: tuple[str, ...]


def grouped(errors: Mapping[str, tuple[str, str]]) -> list[Group]:
    """The servers by what is wrong, in their order. ``errors`` are the summary and the hint by server. Up to ``ALIKE``
    servers with the same error stay apart."""
    hints = Counter(hint for _, hint in errors.values())
    alike: dict[tuple[str, str], list[str]] = {}
    for server, (summary, hint) in errors.items():
        host = _host(server, summary)
        # A hint that several have is about none of them, also if it names some, as that of a worker that is gone.
        own = hint if hints[hint] > 1 else without(server, hint, host)
        alike.setdefault((without(server, summary, host), own), []).append(server)
    groups = []
    for (summary, hint), servers in alike.items():
        if len(servers) <= ALIKE:
            groups += [Group(*errors[server], (server,)) for server in servers]
        else:
            names = shortened(servers, "server")
            summary, hint = summary.replace("\0", names), hint.replace("\0", "SERVER")
            groups.append(Group(summary.replace("\1", "HOST"), hint.replace("\1", "HOST"), tuple(servers)))
    return groups


def without(server: str, text: str, host: str = "") -> str:
    """A text with a place for the name of its server with the address behind it, and others for its ``host`` alone."""
    for word, place, behind in ((server, "\0", r"( \([^()]*\))?"), (host, "\1", "")):
        text = text.replace(place, "")
        if word:
            text = re.sub(rf"(?<![\w.-]){re.escape(word)}(?![\w-]){behind}", place, text)
    return text


def _host(server: str, summary: str) -> str:
    """The host of a server, if the summary has it behind the name: ``grid-1 (10.0.0.11:22)``."""
    found = re.search(rf"(?<![\w.-]){re.escape(server)} \(([^()]+)\)", summary)
    place = "" if found is None else found[1]
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0] if place.count(":") == 1 else place


def lines(plan: Plan, style: Style, *, each: bool = False) -> list[str]:
    """The unreachable servers, why they are, and the dynos that stay on them. ``each``: a line for every server."""
    errors = {server: (error.summary, error.hint) for server, error in plan.unreachable.items()}
    stuck = stuck_dynos(plan)
    found = [Group(*why, (server,)) for server, why in errors.items()] if each else grouped(errors)
    said: list[str] = []
    for group in found:
        said.append(style("red", f"Unreachable: {one_line(group.summary)}"))
        if group.hint:
            said.append(f"  hint: {one_line(group.hint)}")
        said += _staying(group.servers, [dyno for server in group.servers for dyno in stuck.get(server, ())])
    return said


def stuck_dynos(plan: Plan) -> Mapping[str, Sequence[str]]:
    """The dynos that stay on each unreachable server."""
    found: dict[str, list[str]] = {}
    for dyno, home in plan.formation.homes.items():
        if home in plan.unreachable:
            found.setdefault(home, []).append(dyno)
    return found


def _staying(servers: Sequence[str], dynos: Iterable[str]) -> list[str]:
    names = sorted(dynos, key=naming.dyno_order)
    if not names:
        return []
    stay = "stays" if len(names) == 1 else "stay"
    if len(servers) == 1:
        return [
            f"  {', '.join(names)} {stay} on {servers[0]}, unchanged.",
            f"  If the server is gone for good: dynoctl apply --evacuate {servers[0]}",
        ]
    return [
        f"  {shortened(names, 'dyno')} {stay} on {quantity(len(servers), 'server')}, unchanged.",
        "  If a server is gone for good: dynoctl apply --evacuate SERVER",
    ]
