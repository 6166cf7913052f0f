"""The servers of a plan for its page: each with its dynos, and what becomes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from infra.model import naming
from infra.model.formation import CORE
from infra.model.ranges import ranges
from infra.model.resource import Effect
from infra.model.text import quantity
from infra.plan.overview import ServerOverview
from infra.plan.plan import Plan
from infra.views.page_changes import EFFECTS, Group, Values

MOST = 40
"""Servers that have a card each; of more, those that are alike share one."""

PLACE = CORE // 4
"""Thousandths of a core of one place: the default CPU quota of a dyno."""

DRAWN = 32
"""Places of a server that are drawn one by one."""

RUN = 4
"""Dynos of a server to which the same happens that have it said once for all; of fewer, each says it."""


def cards(plan: Plan, groups: Sequence[Group]) -> list[Values]:
    """A card per server, or per kind of server if there are more than ``MOST``."""
    found = _Servers(plan, groups).cards()
    if len(found) <= MOST:
        return [{**card, **_runs(card["dynos"])} for card in found]
    alike: dict[str, list[Values]] = {}
    for card in found:
        dynos = sorted((dyno["type"], dyno["symbol"], dyno["note"]) for dyno in card["dynos"])
        alike.setdefault(f"{card['tags']} {card['shared']} {dynos}", []).append(card)
    folded = (_folded(same) if len(same) > 1 else same[0] for same in alike.values())
    return [{**card, **_runs(card["dynos"])} for card in folded]


class _Servers:
    """The servers, with what each card needs to know of the whole plan."""

    def __init__(self, plan: Plan, groups: Sequence[Group]) -> None:
        self._plan = plan
        self._effects = plan.effects()
        self._had, self._has = Counter(plan.formation.before.values()), Counter(plan.formation.homes.values())
        self._drifted = {(change.resource.server, change.resource.dyno) for change in plan.changes if change.drift}
        self._anchors: dict[tuple[str, str], str] = {}
        self._shared: dict[str, list[Group]] = {}
        for group in groups:
            for member in group.members:
                if member.dyno:
                    self._anchors[member.server, member.dyno] = group.id
                else:
                    self._shared.setdefault(member.server, []).append(group)

    def cards(self) -> list[Values]:
        formation = self._plan.formation
        staying = {(home, dyno) for dyno, home in formation.before.items() if formation.homes.get(dyno, home) == home}
        places = staying | {(home, dyno) for dyno, home in formation.homes.items()} | set(self._effects)
        names = dict.fromkeys([*self._plan.fleet, *sorted({server for server, _ in places})])
        dynos: dict[str, list[str]] = {name: [] for name in [*names, *self._plan.servers, *self._plan.unreachable]}
        for server, dyno in sorted(places, key=lambda place: naming.dyno_order(place[1])):
            dynos[server].append(dyno)
        return [self._card(server, here) for server, here in dynos.items()]

    def _card(self, server: str, dynos: Sequence[str]) -> Values:
        plan, known = self._plan, self._plan.fleet.get(server, ServerOverview(""))
        had, has = self._had[server], self._has[server]
        tags = [
            ("unreachable", "change", server in plan.unreachable),
            ("leaving", "gone", server in plan.leaving),
            ("draining", "change", known.draining),
            (f"{known.router} router", "move", known.router),
            ("changed by hand", "hand", (server, None) in self._drifted),
        ]
        return {
            "id": f"on-{server}",
            "names": [server],
            "title": server,
            "address": known.address,
            "labels": [f"{name}={value}" for name, value in known.labels.items()],
            "tags": [{"word": word, "class": class_} for word, class_, true in tags if true],
            "away": server in plan.unreachable,
            "dynos": [self._dyno(server, dyno) for dyno in dynos],
            "shared": [_shared(group) for group in self._shared.get(server, ())],
            "none": "not observed" if server in plan.unreachable else "no dyno",
            "count": quantity(has, "dyno") if had == has else f"{had} → {quantity(has, 'dyno')}",
            **_places(known),
            "each": (),
        }

    def _dyno(self, server: str, dyno: str) -> Values:
        effect = self._effects.get((server, dyno))
        symbol, class_, word, _ = EFFECTS[effect] if effect else ("", "", "", "")
        return {
            "name": dyno,
            "type": naming.parse_dyno(dyno)[0],
            "symbol": symbol,
            "class": class_,
            "word": word,
            "note": self._note(server, dyno, effect),
            "hand": (server, dyno) in self._drifted,
            "href": self._anchors.get((server, dyno), ""),
        }

    def _note(self, server: str, dyno: str, effect: Effect | None) -> str:
        was, home = (where.get(dyno, server) for where in (self._plan.formation.before, self._plan.formation.homes))
        if effect is Effect.START and was == server and dyno in self._plan.formation.before:
            return "was stopped"
        if effect is Effect.START and was != server:
            return f"from {was}"
        if effect is Effect.STOP and home != server:
            return f"to {home}"
        return "stopped" if dyno in self._plan.idle else ""


def _runs(dynos: Sequence[Values]) -> Values:
    """The dynos of a card: each run of at least ``RUN`` to which the same happens, with one heading, and the rest."""
    alike: dict[tuple[str, str], list[Values]] = {}
    for dyno in dynos:
        alike.setdefault((dyno["symbol"], dyno["note"]), []).append(dyno)
    plural = {symbol: verb for symbol, _, _, verb in EFFECTS.values()}
    runs = [
        {
            "symbol": symbol,
            "class": same[0]["class"],
            "words": f"{len(same)} {'move' if note else plural[symbol]}{note and f' {note}'}",
            "dynos": [{**dyno, "note": ""} for dyno in same],
        }
        for (symbol, note), same in alike.items()
        if symbol and len(same) >= RUN and note.partition(" ")[0] in ("", "from", "to")
    ]
    told = {dyno["name"] for run in runs for dyno in run["dynos"]}
    return {"runs": runs, "dynos": [dyno for dyno in dynos if dyno["name"] not in told]}


def _shared(group: Group) -> Values:
    changes = group.members[0].changes
    words = changes[0].resource.kind.replace("_", " ") + (f" and {len(changes) - 1} more" if changes[1:] else "")
    cleanup = group.values["title"] == "Cleanup"
    kept = {name: group.values[name] for name in ("symbol", "class")}
    return {**kept, "words": "cleanup" if cleanup else words, "href": group.id}


def _places(server: ServerOverview) -> Values:
    """The free places of a server, with the shapes of a drawing that is 4 high: taken ones and free ones."""
    if server.cores is None or server.free is None:
        return {"places": "", "free": 0, "width": 0, "taken_path": "", "free_path": ""}
    many, free = server.cores * server.per_core // PLACE, server.free // PLACE
    taken = range(many - free)
    if many > DRAWN:
        wide, paths = 4 * DRAWN, [f"M0 0h{4 * len(taken) * DRAWN // many}v4H0z", ""]
    else:
        places = (taken, range(many - free, many))
        wide, paths = 5 * many - 1, ["".join(f"M{5 * place} 0h4v4h-4z" for place in some) for some in places]
    return {
        "places": f"{free} of {quantity(many, 'place')} free",
        "free": free,
        "width": wide,
        "taken_path": paths[0],
        "free_path": paths[1],
    }


def _folded(same: Sequence[Values]) -> Values:
    """One card for servers that are alike. Its anchor is that of the first one; the others are in its list."""
    kinds: dict[tuple[str, ...], list[Values]] = {}
    for dyno in (dyno for card in same for dyno in card["dynos"]):
        kinds.setdefault((dyno["type"], dyno["symbol"], dyno["note"]), []).append(dyno)
    free = sum(card["free"] for card in same)
    plural = {symbol: verb for symbol, _, _, verb in EFFECTS.values()}
    return {
        **same[0],
        "names": [card["title"] for card in same],
        "title": ranges(card["title"] for card in same),
        "address": "",
        "labels": [],
        "count": quantity(len(same), "server"),
        "dynos": [
            {
                **dynos[0],
                "name": f"{len(dynos)} {type_}",
                "word": plural.get(symbol, "") if len(dynos) > 1 else dynos[0]["word"],
                "hand": any(dyno["hand"] for dyno in dynos),
            }
            for (type_, symbol, _), dynos in kinds.items()
        ],
        "places": f"{quantity(free, 'place')} free" if all(card["places"] for card in same) else "",
        "width": 0,
        "each": same,
    }
