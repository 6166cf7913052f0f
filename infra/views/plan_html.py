"""A plan as one self-contained HTML page: the servers with their dynos before and after, and every difference.

This module collects what the page says; how it looks is in ``plan.html.j2`` and ``page.css``. It imports Jinja, so it
is imported only if a page was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from infra.model import naming
from infra.model.resource import Change
from infra.plan.plan import Plan
from infra.views.plan_text import EFFECTS, SYMBOLS, change_lines, check_lines, gates, options, release_lines, summary
from infra.views.style import Style, printable
from infra.views.under_way import above

_PLAIN = Style(False)
_CLASSES = {"create": "add", "update": "change", "restart": "change", "delete": "gone"}
_EFFECTS = {"start": "add", "restart": "change", "stop": "gone"}
_LINES = {"+": "plus", "-": "minus", "~": "tilde"}

Values = dict[str, Any]
"""Variables of the template."""


def render(plan: Plan, headlines: Mapping[str, Sequence[str]], made: str) -> str:
    """The whole page. It loads nothing, runs no script and holds no secret's value. ``made`` says when and by whom."""
    package = files("infra.views")
    return _template(package.joinpath("plan.html.j2").read_text("utf-8")).render(
        css=package.joinpath("page.css").read_text("utf-8"),
        app=plan.app,
        summary=summary(plan, _PLAIN),
        counts=list(_counts(plan)),
        alerts=list(_alerts(plan)),
        gates=[*gates(plan), *release_lines(plan), *(line for line in check_lines(plan, _PLAIN) if line)],
        servers=list(_servers(plan)),
        batches=list(_batches(plan)),
        changed=list(_changed(plan, headlines)),
        made=f"{options(plan)} {made}".strip(),
        fingerprint=plan.fingerprint[:12],
    )


def _template(text: str) -> Template:
    def shown(value: object) -> object:
        # HTML escaping leaves control characters alone, so they are escaped here: untrusted text may contain them.
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(text)


def _counts(plan: Plan) -> Iterator[Values]:
    if not plan.changes:
        return
    counts = plan.counts()
    drifted = sum(change.drift for change in plan.changes)
    for number, words, class_ in (
        (counts["add"], "to add", "add"),
        (counts["change"], "to change", "change"),
        (counts["destroy"], "to destroy", "gone"),
        (counts["start"], "dynos start", "add"),
        (counts["restart"], "dynos restart", "change"),
        (counts["stop"], "dynos stop", "gone"),
        (drifted, "changed by hand", "gone"),
        (plan.left_out, "left out", ""),
    ):
        words = (
            words.replace("dynos", "dyno").replace("start", "starts").replace("stop", "stops") if number == 1 else words
        )
        if number or words.startswith("to "):
            yield {"class": class_ if number else "", "number": number, "words": words}


def _alerts(plan: Plan) -> Iterator[Values]:
    for words in above(plan):
        yield {"class": "change", "words": words, "hint": ""}
    for diagnostic in plan.errors:
        yield {"class": "gone", "words": f"Error: {diagnostic.summary}", "hint": diagnostic.hint}
    for error in plan.unreachable.values():
        yield {"class": "change", "words": f"Unreachable: {error.summary}", "hint": error.hint}
    for note in plan.notes:
        yield {"class": "move", "words": f"{note}.", "hint": ""}


def _servers(plan: Plan) -> Iterator[Values]:
    formation, effects = plan.formation, plan.effects()
    for server in sorted({*formation.homes.values(), *formation.before.values(), *plan.servers, *plan.unreachable}):
        before = [dyno for dyno, home in formation.before.items() if home == server]
        after = [dyno for dyno, home in formation.homes.items() if home == server]
        many = sum(change.resource.server == server for change in plan.changes)
        away = server in plan.unreachable
        label = "leaving" if server in plan.leaving else _many(len(after), "dyno")
        yield {
            "name": server,
            "id": _id(server),
            "away": away,
            "word": "unreachable" if away else label,
            "before": _dynos(server, before, {key: effect for key, effect in effects.items() if effect == "stop"}),
            "after": _dynos(server, after, {key: effect for key, effect in effects.items() if effect != "stop"}),
            "changes": _many(many, "change") if many else "",
        }


def _dynos(server: str, dynos: Sequence[str], effects: Mapping[tuple[str, str], str]) -> list[Values]:
    found = []
    for dyno in sorted(dynos, key=naming.dyno_order):
        effect = effects.get((server, dyno))
        word, class_ = ("", "") if effect is None else (EFFECTS[effect], _EFFECTS[effect])
        found.append({"name": dyno, "word": word, "class": class_, "id": _id(server, dyno)})
    return found


def _batches(plan: Plan) -> Iterator[Values]:
    for batch, left in zip(plan.batches, plan.capacity(), strict=True):
        bars = [
            {"percent": 100 * have // max(1, whole), "words": f"{have} of {whole} {type_}"}
            for type_, (have, whole) in left.items()
        ]
        yield {"dynos": ", ".join(batch), "bars": bars}


def _changed(plan: Plan, headlines: Mapping[str, Sequence[str]]) -> Iterator[Values]:
    """The servers with their changes, grouped by dyno."""
    by_server: dict[str, dict[str, list[Change]]] = {}
    for change in plan.changes:
        group = change.resource.dyno or ""
        by_server.setdefault(change.resource.server, {}).setdefault(group, []).append(change)
    for server, groups in by_server.items():
        shown = [_group(server, dyno, changes, headlines) for dyno, changes in groups.items()]
        yield {"name": server, "id": _id(server), "groups": shown}


def _group(server: str, dyno: str, changes: Sequence[Change], headlines: Mapping[str, Sequence[str]]) -> Values:
    """The changes of one dyno, or those shared by all dynos of a server. The anchor is inside: a link opens it."""
    effect = next((change.effect for change in changes if change.effect), None)
    kinds = ", ".join(dict.fromkeys(change.resource.kind for change in changes))
    return {
        "title": dyno or "Shared by all dynos",
        "id": _id(server, dyno or "server"),
        "word": EFFECTS[effect] if effect else "",
        "class": _EFFECTS[effect] if effect else _CLASSES[changes[0].action],
        "drift": any(change.drift for change in changes),
        "why": f"{_many(len(changes), 'change')}: {kinds}",
        "changes": [_change(change, headlines.get(change.resource.kind, ())) for change in changes],
    }


def _change(change: Change, headline: Sequence[str]) -> Values:
    head, *short = change_lines(change, headline, _PLAIN, verbose=False)
    whole = change_lines(change, headline, _PLAIN, verbose=True)[1:]
    address, _, why = head.partition("  # ")
    symbol = SYMBOLS[change.action]
    shown = [line for line in short if not line.strip().startswith("(")]
    return {
        "symbol": symbol,
        "address": address.removeprefix(symbol).strip(),
        "why": why,
        "shown": [_line(line) for line in shown],
        "more": [_line(line) for line in whole if line not in shown],
    }


def _line(line: str) -> Values:
    return {"class": _LINES.get(line.strip()[:1], ""), "text": line.strip()}


def _many(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _id(server: str, part: str = "") -> str:
    """The name of an anchor. Names of servers and dynos hold only letters, digits, dots and dashes."""
    return f"on-{server}" + (f"_{part}" if part else "")
