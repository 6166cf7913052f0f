"""A plan on one screen: the verdict, a line per server, and what is behind it with alike changes folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.model import naming
from infra.model.provider import Brief, within
from infra.model.ranges import shortened
from infra.model.resource import Action, Change, Effect, count
from infra.model.text import quantity
from infra.plan.plan import Plan
from infra.views.attributes import differences, flat
from infra.views.plan_text import (
    CLEANUP,
    COLORS,
    OF_RELEASE,
    SYMBOLS,
    batch_lines,
    check_lines,
    difference,
    gates,
    is_cleanup,
    release_lines,
    summary,
)
from infra.views.style import Style, clean, one_line
from infra.views.under_way import above
from infra.views.unreachable import lines as unreachable_lines

MOST = 6
"""Attributes shown of a group of alike changes; more are counted."""

BATCHES = 4
"""Rollout batches that have a line each; more are one line."""

WIDE = 64
"""Characters of a line of several attributes."""

FLEET = 24
"""Servers that have a line each; more are folded by what becomes of their dynos and resources."""

NOTES = 12
"""Notes that are shown; more are counted."""

_MARKS = {Effect.START: ("+", "green"), Effect.RESTART: ("↻", "cyan"), Effect.STOP: ("-", "red")}


@dataclass
class _Group:
    """Changes that are alike: what is shown of the first is true of all."""

    first: Change
    lines: list[str]
    servers: list[str] = field(default_factory=list)
    dynos: list[str] = field(default_factory=list)


def render(plan: Plan, briefs: Mapping[str, Brief], style: Style) -> str:
    """The plan. ``briefs`` says, by kind, which attributes are worth a line."""
    blocks = [[style("bold", line) for line in above(plan)], [summary(plan, style), *release_lines(plan)]]
    if plan.changes:
        blocks += [server_lines(plan, style), folded(plan, briefs, style), [*gates(plan), *batch_line(plan, style)]]
    checks = [line for line in check_lines(plan, style) if line]
    blocks.append([*checks, *_notes(plan, style), *unreachable_lines(plan, style)])
    return "\n\n".join("\n".join(map(clean, lines)) for lines in blocks if lines)


def _notes(plan: Plan, style: Style) -> list[str]:
    more = len(plan.notes) - NOTES
    shown = [f"Note: {note}." for note in plan.notes[: NOTES if more > 1 else None]]
    return [*shown, *([style("dim", f"({more} more notes; see --verbose)")] if more > 1 else [])]


def server_lines(plan: Plan, style: Style) -> list[str]:
    """A line per server with all its dynos, each with what becomes of it. Of more than ``FLEET`` servers, a line per
    kind, such as ``+ 4 web  on 996 servers: grid-[1-996]  # 18 to add on each``."""
    effects, formation = plan.effects(), plan.formation
    rows: dict[str, list[str]] = {}
    for server, dyno in _places(plan):
        effect, was = effects.get((server, dyno)), formation.before.get(dyno)
        mark, color = _MARKS[effect] if effect else (" ", "")
        origin = f" (from {was})" if effect is Effect.START and was not in (None, server) else ""
        rows.setdefault(server, []).append(f"{style(color, mark)} {dyno}{origin}")
    if len(rows.keys() | plan.by_server.keys()) > FLEET:
        return [_kind_line(kind, style) for kind in kinds(plan)]
    width = max(map(len, rows), default=0)
    return [f"{server:<{width}}  {'  '.join(dynos)}" for server, dynos in sorted(rows.items())]


def _kind_line(kind: Kind, style: Style) -> str:
    where = f"on {quantity(len(kind.servers), 'server')}: {shortened(kind.servers, 'server')}"
    each = " on each" if len(kind.servers) > 1 else ""
    note = f"  {style('dim', '#')} {kind.changes}{each}" if kind.changes else ""
    return f"{kind.dynos or 'no dynos'}  {where}{note}"


@dataclass(frozen=True)
class Kind:
    """Servers of which the same becomes: the dynos of each, such as ``+ 4 web``, and how much changes on each."""

    dynos: str
    changes: str
    servers: tuple[str, ...]


def kinds(plan: Plan) -> list[Kind]:
    """The servers by what becomes of them."""
    effects = plan.effects()
    shapes: dict[str, Counter[str]] = {}
    for server, dyno in _places(plan):
        effect = effects.get((server, dyno))
        mark = _MARKS[effect][0] if effect else " "
        shapes.setdefault(server, Counter())[f"{mark} {naming.parse_dyno(dyno)[0]}"] += 1
    alike: dict[tuple[str, str], list[str]] = {}
    for server in sorted({*shapes, *plan.by_server}):
        shape = shapes.get(server, Counter())
        dynos = "  ".join(f"{what[0]} {number} {what[2:]}".strip() for what, number in shape.items())
        alike.setdefault((dynos, _each(plan.by_server.get(server, ()))), []).append(server)
    return [Kind(dynos, changes, tuple(servers)) for (dynos, changes), servers in alike.items()]


def _places(plan: Plan) -> list[tuple[str, str]]:
    """Every server and dyno that is or was there, in the order of the dynos."""
    places = {(home, dyno) for dyno, home in plan.formation.homes.items()} | set(plan.effects())
    return sorted(places, key=lambda place: (naming.dyno_order(place[1]), place[0]))


def _each(changes: Sequence[Change]) -> str:
    """How much changes on a server, in the words of the summary."""
    counts = count(changes)
    words = ((counts.add, "to add"), (counts.change, "to change"), (counts.destroy, "to destroy"))
    return ", ".join(f"{number} {word}" for number, word in words if number)


def folded(plan: Plan, briefs: Mapping[str, Brief], style: Style) -> list[str]:
    """The changes with alike ones folded; of new resources about which nothing is to be said, only the kinds; and how
    much is cleaned up."""
    groups: dict[tuple[object, ...], _Group] = {}
    for change in plan.changes:
        resource = change.resource
        if not is_cleanup(change):
            lines = brief_lines(change, briefs.get(resource.kind, Brief()), style)
            name = "" if resource.dyno else resource.name
            group = groups.setdefault(
                (change.action, resource.kind, name, one_line(shared_reason(change)), change.drift, *lines),
                _Group(change, lines),
            )
            group.servers.append(resource.server)
            group.dynos += [resource.dyno] if resource.dyno else []
    found: list[str] = []
    silent: dict[tuple[Action, str, str], list[str]] = {}
    for group in groups.values():
        change, where = group.first, _where(group)
        note = one_line(shared_reason(change))
        if not group.lines and not change.drift:
            silent.setdefault((change.action, where, note), []).append(resource_name(change))
        else:
            head = _head(
                change.action, resource_name(change), where, (style("red", "drift: ") * change.drift) + note, style
            )
            first = group.lines[0].removeprefix(_added(style)) if group.lines else ""
            short = change.action is Action.CREATE and not note and 0 < len(first) <= WIDE
            found += [f"{head}  {first}", *group.lines[1:]] if short else [head, *group.lines]
    for (action, where, note), names in silent.items():
        found.append(_head(action, ", ".join(dict.fromkeys(names)), where, note, style))
    return [*found, *cleanup_line(plan.changes, style)]


def cleanup_line(changes: Sequence[Change], style: Style) -> list[str]:
    """How much of ``changes`` is only cleaned up."""
    removed = Counter(change.resource.kind for change in changes if is_cleanup(change))
    what = ", ".join(quantity(many, kind.replace("_", " ")) for kind, many in removed.items())
    return [_head(Action.DELETE, what, "", f"cleanup: {CLEANUP.format('them')}", style)] if removed else []


def _head(action: Action, what: str, where: str, note: str, style: Style) -> str:
    place = f" {style('dim', where)}" if where else ""
    return f"{style(COLORS[action], SYMBOLS[action])} {style('bold', what)}{place}" + (
        f"  {style('dim', '#')} {note}" if note else ""
    )


def shared_reason(change: Change) -> str:
    """The reason, without the names of the dyno and of its own resources, so that it is the same for all dynos to which
    the same happens: ``env_file, credentials change``, ``state is crashing``."""
    name, dyno = change.resource.name, change.resource.dyno
    if not dyno:
        return change.reason
    reason = change.reason.removeprefix(f"{dyno} ")
    return reason.replace(f".{name} ", " ").replace(f".{name}, ", ", ").replace(f"{dyno}: ", "")


def resource_name(change: Change) -> str:
    """What a resource is called beside its dynos or servers: ``unit``, ``slug 9f2c...``, ``package.ruby``."""
    resource = change.resource
    digest = OF_RELEASE.search(resource.name)
    if digest is not None and resource.kind == "slug":
        return f"slug {digest[1]}"
    return resource.kind if resource.dyno or digest else resource.key


def _where(group: _Group) -> str:
    """``of web.[1-7], worker.1``, or ``on grid-[1-4]``."""
    if group.dynos:
        return f"of {shortened(group.dynos, 'dyno')}"
    return f"on {shortened(dict.fromkeys(group.servers), 'server')}"


def brief_lines(change: Change, brief: Brief, style: Style) -> list[str]:
    """What is worth a line of a change. What was changed by hand always is."""
    if change.action is Action.CREATE:
        lines = _created(change, brief, style)
    elif change.action is Action.UPDATE:
        lines = []
        for name, old, new in differences(change.before or {}, change.after or {}):
            drift = within(name, change.drifted)
            if drift or not brief.leaves_out(name):  # what was changed by hand is never left out
                lines += difference(name, old, new, style, drift=drift)
    else:
        return []
    more = len(lines) - MOST
    return [*lines[:MOST], style("dim", f"    ({more} more lines; see --verbose)")] if more > 1 else lines


def _created(change: Change, brief: Brief, style: Style) -> list[str]:
    """What is shown of a new resource: short attributes together on the first lines."""
    values = flat(change.after)
    words = [
        line.removeprefix(_added(style))
        for name in brief.shown
        if name in values
        for line in difference(name.rpartition(".")[2], None, values[name], style)
    ]
    for name in brief.named:
        keys = [key.removeprefix(f"{name}.") for key in values if key.startswith(f"{name}.")]
        if keys:
            words.append(f"{name}: {one_line(', '.join(keys))}")
    lines: list[str] = []
    for word in sorted(words, key=lambda word: len(word) > WIDE):
        if lines and len(lines[-1]) + len(word) <= WIDE:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return [_added(style) + line for line in lines]


def _added(style: Style) -> str:
    """What is before a new attribute."""
    return f"    {style('green', '+')} "


def batch_line(plan: Plan, style: Style) -> list[str]:
    """The rollout batches: a line each if they are few, else their order in one line and what stays up at least."""
    if len(plan.batches) <= BATCHES:
        return batch_lines(plan, style, lambda dynos: shortened(dynos, "dyno"))
    least: dict[str, tuple[int, int]] = {}
    for left in plan.capacity():
        for type_, (have, whole) in left.items():
            least[type_] = min(least.get(type_, (have, whole)), (have, whole))
    sizes = sorted({len(batch) for batch in plan.batches})
    size = quantity(sizes[-1], "dyno") if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} dynos"
    up = ", ".join(f"{have} of {whole} {type_}" for type_, (have, whole) in least.items())
    order = shortened([dyno for batch in plan.batches for dyno in batch], "dyno")
    return [f"{len(plan.batches)} batches of {size}: {order}  {style('dim', f'# never fewer up than {up}')}"]
