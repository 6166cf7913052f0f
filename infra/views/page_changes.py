"""The changes of a plan for its page: what is alike on many dynos or servers is one group, and nothing is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.model.provider import Brief, within
from infra.model.ranges import ranges
from infra.model.resource import Action, Change, Effect
from infra.model.text import quantity
from infra.plan.plan import Plan
from infra.views.attributes import Value, differences, flat
from infra.views.plan_screen import resource_name, shared_reason
from infra.views.plan_text import is_cleanup, value_words

MINUS = "\N{MINUS SIGN}"

ACTIONS = {
    Action.CREATE: ("+", "add", "create"),
    Action.UPDATE: ("~", "change", "change"),
    Action.RESTART: ("↻", "restart", "restart"),
    Action.DELETE: (MINUS, "gone", "destroy"),
}
EFFECTS = {
    Effect.START: ("+", "add", "starts", "start"),
    Effect.RESTART: ("↻", "restart", "restarts", "restart"),
    Effect.STOP: (MINUS, "gone", "stops", "stop"),
}
"""The symbol, the class and the verb of what becomes of a dyno."""

LONGEST = 80
"""Characters of a title that names all dynos of a group."""

CHIPS = 24
"""Members of a group that are shown as chips; more are a folded list."""

_NUMBERED = re.compile(r"(?<![A-Za-z0-9])([a-z][a-z0-9]*)([.-])([0-9]+)(?![0-9])")

Values = dict[str, Any]
"""Variables of the template."""


@dataclass(frozen=True)
class Row:
    """An attribute that differs: its value before and after, "" where it is absent. ``brief``: it is worth a line."""

    name: str
    sign: str
    old: str
    new: str
    brief: bool
    hand: bool = False


@dataclass(frozen=True)
class Member:
    """The changes of a dyno on its server, or of what the dynos of a server share; ``dyno`` is "" then."""

    server: str
    dyno: str
    changes: tuple[Change, ...]
    rows: tuple[tuple[Row, ...], ...]
    """The attributes that differ, for each change."""


@dataclass(frozen=True)
class Group:
    """What changes alike: the changes of its members differ from each other at most in values. ``id`` is its anchor,
    which is inside so that a link opens it."""

    id: str
    members: tuple[Member, ...]
    values: Values


def groups(plan: Plan, briefs: Mapping[str, Brief]) -> list[Group]:
    """All changes: those of dynos by what becomes of them, then shared ones, then what is only cleaned up."""
    found: dict[tuple[object, ...], list[Member]] = {}
    for member in _members(plan, briefs):
        shapes = map(_shape, member.changes, member.rows)
        found.setdefault((bool(member.dyno), *shapes), []).append(member)
    rank = [Effect.RESTART, Effect.START, Effect.STOP, None]
    dynos = [members for members in found.values() if members[0].dyno]
    dynos.sort(key=lambda members: rank.index(_effect(members[0])))
    shared = list(_joined(members for members in found.values() if not members[0].dyno))
    shared.sort(key=lambda members: (is_cleanup(members[0].changes[0]), members[0].changes[0].action.removes))
    return [
        Group(f"change-{number}", tuple(members), {"id": f"change-{number}", **_values(members)})
        for number, members in enumerate([*dynos, *shared], 1)
    ]


def _members(plan: Plan, briefs: Mapping[str, Brief]) -> Iterator[Member]:
    found: dict[tuple[str, str], list[Change]] = {}
    for change in plan.changes:
        found.setdefault((change.resource.server, change.resource.dyno or f"/{change.resource.key}"), []).append(change)
    for (server, name), changes in found.items():
        rows = (tuple(_rows(change, briefs.get(change.resource.kind, Brief()))) for change in changes)
        yield Member(server, "" if name.startswith("/") else name, tuple(changes), tuple(rows))


def _joined(found: Iterator[list[Member]]) -> Iterator[list[Member]]:
    """Shared changes that only create or remove on the same servers as one group, and so everything cleaned up."""
    joined: dict[object, dict[str, list[Member]]] = {}
    for members in found:
        change = members[0].changes[0]
        servers = tuple(member.server for member in members)
        alone = change.drift or change.action not in (Action.CREATE, Action.DELETE)
        key = change.address if alone else "cleanup" if is_cleanup(change) else (change.action, change.reason, servers)
        for member in members:
            joined.setdefault(key, {}).setdefault(member.server, []).append(member)
    for by_server in joined.values():
        yield [
            Member(server, "", tuple(one.changes[0] for one in same), tuple(one.rows[0] for one in same))
            for server, same in by_server.items()
        ]


def _effect(member: Member) -> Effect | None:
    return next((change.effect for change in member.changes if change.effect), None)


def _shape(change: Change, rows: Sequence[Row]) -> tuple[object, ...]:
    """What changes with the same shape have in common: everything but the values of attributes."""
    resource = change.resource
    names = tuple((row.name, row.sign, row.hand) for row in rows)
    name = "" if resource.dyno else resource.name
    return (change.action, resource.kind, name, change.effect, change.drift, _reason(change), names)


def _reason(change: Change) -> str:
    """The reason without the name of the dyno and of its own resources: ``env_file changes``."""
    return _generic(shared_reason(change), change.resource.dyno)


def _generic(text: str, dyno: str | None) -> str:
    """``text`` with N for the number of the dyno: ``web.N``, ``dyno-shop-web-N``."""
    if not dyno:
        return text
    type_, _, number = dyno.rpartition(".")
    return _NUMBERED.sub(
        lambda found: f"{type_}{found[2]}N" if (found[1], found[3]) == (type_, number) else found[0], text
    )


def _rows(change: Change, brief: Brief) -> Iterator[Row]:
    if change.action is Action.CREATE:
        values = flat(change.after)
        for name in brief.named:
            if keys := [key.removeprefix(f"{name}.") for key in values if key.startswith(f"{name}.")]:
                yield Row(name, "+", "", ", ".join(keys), True)
        for name, value in values.items():
            yield Row(name, "+", "", value_words(name, value), name in brief.shown)
    elif change.action is Action.UPDATE:
        for name, old, new in differences(change.before or {}, change.after or {}):
            hand = within(name, change.drifted)
            sign = "+" if old is None else "-" if new is None else "~"
            yield Row(name, sign, *_texts(name, old, new), hand or not brief.leaves_out(name), hand)


def _texts(name: str, old: Value, new: Value) -> tuple[str, str]:
    """Both values as text. Of a directive that occurs several times, such as ``Environment=``, only what differs."""
    if isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
        lines, wanted = old.split("\n"), new.split("\n")
        gone = [value_words(name, line) for line in lines if line not in wanted]
        come = [value_words(name, line) for line in wanted if line not in lines]
        return "\n".join(gone), "\n".join(come)
    return tuple("" if value is None else value_words(name, value) for value in (old, new))  # type: ignore[return-value]


def _values(members: Sequence[Member]) -> Values:
    first, effect = members[0], _effect(members[0])
    changes = first.changes
    servers = list(dict.fromkeys(member.server for member in members))
    cleanup = is_cleanup(changes[0])
    if effect is not None:
        symbol, class_, one, many = EFFECTS[effect]
    else:
        symbol, class_, one = ACTIONS[changes[0].action]
        one = many = "" if first.dyno else one
    kinds = dict.fromkeys(change.resource.kind.replace("_", " ") for change in changes)
    title = _dynos(members) if first.dyno else ", ".join(map(resource_name, changes))
    why = ", ".join(kinds) if first.dyno else ""
    if cleanup:
        removed = Counter(change.resource.kind for member in members for change in member.changes)
        title, why = "Cleanup", ", ".join(quantity(n, kind.replace("_", " ")) for kind, n in removed.items())
        why += ": no dyno needs them any more"
    return {
        "symbol": symbol,
        "class": class_,
        "classes": " ".join(sorted(_classes(changes))),
        "title": title,
        "word": one if len(members) == 1 else many,
        "drift": any(change.drift for change in changes),
        "why": why,
        "where": servers[0] if len(servers) == 1 else f"the same on {len(servers)} servers",
        "members": [{"dyno": member.dyno, "server": member.server} for member in sorted(members, key=_order)],
        "few": len(members) <= CHIPS,
        "changes": _cleaned(members) if cleanup else [_change(members, n) for n in range(len(changes))],
    }


def _dynos(members: Sequence[Member]) -> str:
    """The names of the dynos, or of many the numbers, such as ``1479 web, 493 worker``."""
    names = ranges(member.dyno for member in members)
    types = Counter(member.dyno.partition(".")[0] for member in members)
    return names if len(names) <= LONGEST else ", ".join(f"{many} {type_}" for type_, many in types.items())


def _order(member: Member) -> tuple[str, int, str]:
    type_, _, number = member.dyno.rpartition(".")
    return (type_, len(number), member.dyno)


def _classes(changes: Sequence[Change]) -> set[str]:
    """The names by which a filter of the page finds a group."""
    found = {f"is-{ACTIONS[change.action][1]}" for change in changes}
    found |= {"is-restart" for change in changes if change.effect is Effect.RESTART}
    return found | {"is-hand" for change in changes if change.drift}


def _cleaned(members: Sequence[Member]) -> list[Values]:
    """What is only cleaned up: each resource with its servers."""
    where: dict[str, list[str]] = {}
    for member in members:
        for change in member.changes:
            where.setdefault(change.resource.key, []).append(member.server)
    return [
        {"symbol": MINUS, "class": "gone", "name": name, "why": f"on {ranges(servers)}", "rows": [], "more": []}
        for name, servers in where.items()
    ]


def _change(members: Sequence[Member], number: int) -> Values:
    """The ``number``-th change of each member as one: an attribute whose values differ has all of them."""
    change = members[0].changes[number]
    symbol, class_, _ = ACTIONS[change.action]
    rows = [_row(members, same) for same in zip(*(member.rows[number] for member in members), strict=True)]
    named = change.resource.key if len(members) == 1 or not change.resource.dyno else change.resource.kind
    return {
        "symbol": symbol,
        "class": class_,
        "name": named,
        "why": _reason(change) if len(members) > 1 else change.reason,
        "rows": [row for row in rows if row["brief"]],
        "more": [row for row in rows if not row["brief"]],
    }


def _row(members: Sequence[Member], rows: Sequence[Row]) -> Values:
    """An attribute with its values, each with the dynos or servers that have it if they differ."""
    who: dict[tuple[str, str], list[str]] = {}
    for member, row in zip(members, rows, strict=True):
        dyno = member.dyno if len(rows) > 1 else ""
        who.setdefault((_generic(row.old, dyno), _generic(row.new, dyno)), []).append(member.dyno or member.server)
    pairs = [
        {"old": old, "new": new, "who": ranges(names) if len(who) > 1 else ""} for (old, new), names in who.items()
    ]
    first = rows[0]
    return {"name": first.name, "sign": first.sign, "hand": first.hand, "brief": first.brief, "pairs": pairs}
