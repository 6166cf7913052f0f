"""Checks of ``checks`` that a schema cannot express."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document, list_of, map_of
from infra.manifest.suggestions import nearest

NAMED = 8
"""Values of a label that an error names."""


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every rule for an unknown process type."""
    counts = counts_of(data.get("dynos"))
    for type_ in map_of(map_of(data.get("checks")).get("min_healthy")):
        if type_ not in counts:
            path = ("checks", "min_healthy", type_)
            yield document.diagnostic(path, f"unknown process type {type_}", key=True, expected="a key of dynos")


def impossible(document: Document) -> Iterator[Diagnostic]:
    """Every rule of a valid manifest for an unknown label, or with a number that the manifest cannot reach: no plan can
    pass it. Whatever needs no such plan works all the same, as to look at what runs or to remove it."""
    data = map_of(document.data)
    checks, counts = map_of(data.get("checks")), counts_of(data.get("dynos"))
    for type_, least in map_of(checks.get("min_healthy")).items():
        path, count = ("checks", "min_healthy", type_), counts[type_]
        if _is_number(least) and count is not None and least > count:
            percentage = _LIKELY <= least <= 100
            yield document.diagnostic(
                path,
                f"min_healthy of {type_} is {least}, and {type_} has {count} dyno{'' if count == 1 else 's'}",
                expected=f"0 to {count}, or a percentage such as 75%",
                hint=f"did you mean {least}%?" if percentage else "no plan can pass this check: add dynos, or lower it",
            )
    yield from _spread(document, data, map_of(checks.get("min_spread")), counts)


_LIKELY = 20
"""The least number that was likely meant as a percentage."""


def _spread(
    document: Document, data: Mapping[str, Any], wanted: Mapping[str, Any], counts: Mapping[str, int | None]
) -> Iterator[Diagnostic]:
    """Every label with fewer values than the dynos of a type must be spread over. Groups must be expanded."""
    servers = [map_of(server) for server in list_of(data.get("servers"))]
    labels = [map_of(server.get("labels")) for server in servers if server.get("dynos", True) is not False]
    for label, least in wanted.items():
        values = sorted({str(has[label]) for has in labels if label in has})
        known = sorted({str(name) for has in labels for name in has})
        most = max((count or 0 for count in counts.values()), default=0)
        if not _is_number(least) or min(least, most) <= len(values) or not labels:
            continue
        have = f"the servers that run dynos have {len(values)} value{'' if len(values) == 1 else 's'} of this label"
        found = have if values else "no server that runs dynos has this label"
        close = "" if values else nearest(label, known)
        yield document.diagnostic(
            ("checks", "min_spread", label),
            f"min_spread of {label} is {least}, and {found}",
            expected=f"at most {len(values)}: {', '.join(values[:NAMED])}" if values else "a label of the servers",
            hint=f"did you mean {close}?" if close else f"add labels: {{{label}: ...}} to more servers",
        )


def counts_of(dynos: object) -> dict[str, int | None]:
    """The number of dynos of each process type in ``dynos``; None if it is not known."""
    found: dict[str, int | None] = {}
    for type_, value in (map_of(dynos) or {"web": None}).items():
        count = value.get("count", 1) if isinstance(value, dict) else value
        found[str(type_)] = count if _is_number(count) else None
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
