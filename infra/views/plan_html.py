"""A plan as one self-contained page: the fleet as servers with their dynos before and after, and every difference."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from infra.model import naming
from infra.model.resource import Change
from infra.plan.plan import Plan
from infra.views.plan_text import EFFECTS, SYMBOLS, change_lines, check_lines, gates, summary
from infra.views.style import Style, printable

_PLAIN = Style(False)
_CLASSES = {"create": "add", "update": "change", "restart": "change", "delete": "gone"}
_EFFECTS = {"start": "add", "restart": "change", "stop": "gone"}
_LINES = {"+": "plus", "-": "minus", "~": "tilde"}


def render(plan: Plan, headlines: Mapping[str, Sequence[str]], made: str) -> str:
    """The whole page. It loads nothing, runs no script and holds no secret's value. ``made`` says when and by whom."""
    title = f"Plan for {printable(plan.app)}: {summary(plan, _PLAIN).removeprefix('Plan: ')}"
    parts = [
        '<!doctype html>\n<!-- A plan of dynoctl. -->\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{files('infra.views').joinpath('page.css').read_text('utf-8')}</style>\n</head>\n<body>",
        '<a class="skip" href="#changes">Skip to the changes</a>',
        f"<header>\n<h1>Plan for {_text(plan.app)}</h1>",
        *_counts(plan),
        *_alerts(plan),
        "</header>\n<main>",
        *_gates(plan),
        *_fleet(plan),
        *_rollout(plan),
        *_changes(plan, headlines),
        "</main>",
        f"<footer><p>{_text(made)} Fingerprint {_text(plan.fingerprint[:12])}.</p></footer>",
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _counts(plan: Plan) -> Iterator[str]:
    if not plan.changes:
        yield f"<p>{_text(summary(plan, _PLAIN))}</p>"
        return
    counts = plan.counts()
    drifted = sum(change.drift for change in plan.changes)
    yield '<ul class="counts">'
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
        shown = class_ if number else ""
        if number or words.startswith("to "):
            yield f'<li class="count {shown}"><b>{number}</b> {words}</li>'
    yield "</ul>"


def _alerts(plan: Plan) -> Iterator[str]:
    found = [("gone", f"Error: {one.summary}", one.hint) for one in plan.errors]
    found += [("change", f"Unreachable: {one.summary}", one.hint) for one in plan.unreachable.values()]
    found += [("move", f"{note}.", "") for note in plan.notes]
    if found:
        yield '<ul class="alerts">'
        for class_, words, hint in found:
            more = f"<p>{_text(hint)}</p>" if hint else ""
            yield f'<li class="{class_}"><p>{_text(words)}</p>{more}</li>'
        yield "</ul>"


def _gates(plan: Plan) -> Iterator[str]:
    lines = [*gates(plan), *(line for line in check_lines(plan, _PLAIN) if line)]
    if lines:
        yield '<section aria-labelledby="before">\n<h2 id="before">Before any dyno moves</h2>'
        yield '<ul class="before-moving">'
        yield from (f"<li>{_text(line)}</li>" for line in lines)
        yield "</ul>\n</section>"


def _fleet(plan: Plan) -> Iterator[str]:
    formation, effects = plan.formation, plan.effects()
    servers = sorted({*formation.homes.values(), *formation.before.values(), *plan.servers, *plan.unreachable})
    if not servers:
        return
    yield '<section aria-labelledby="fleet">\n<h2 id="fleet">The fleet</h2>\n<ul class="legend">'
    for class_, symbol, words in (("add", "+", "starts"), ("change", "↻", "restarts"), ("gone", "-", "stops")):
        yield f'<li><span class="{class_}" aria-hidden="true">{symbol}</span>{words}</li>'
    yield '</ul>\n<ul class="servers">'
    for server in servers:
        before = _sorted(dyno for dyno, home in formation.before.items() if home == server)
        after = _sorted(dyno for dyno, home in formation.homes.items() if home == server)
        mine = [change for change in plan.changes if change.resource.server == server]
        away = server in plan.unreachable
        word = (
            "does not answer"
            if away
            else "leaves"
            if server in plan.leaving
            else f"{len(after)} dyno{'' if len(after) == 1 else 's'}"
        )
        yield f'<li class="server{" away" if away else ""}">'
        yield f"<header><h3>{_text(server)}</h3><small>{word}</small></header>"
        yield '<div class="sides">'
        yield '<div class="side"><p>Before</p>'
        yield from _dynos(server, before, {key: one for key, one in effects.items() if one == "stop"})
        yield '</div>\n<div class="arrow" aria-hidden="true">→</div>\n<div class="side"><p>After</p>'
        yield from _dynos(server, after, {key: one for key, one in effects.items() if one != "stop"})
        yield "</div>\n</div>"
        if mine:
            many = "1 change" if len(mine) == 1 else f"{len(mine)} changes"
            yield f'<footer><a href="#{_id(server)}">{many} on {_text(server)}</a></footer>'
        yield "</li>"
    yield "</ul>\n</section>"


def _dynos(server: str, dynos: Sequence[str], effects: Mapping[tuple[str, str], str]) -> Iterator[str]:
    if not dynos:
        yield '<span class="none">no dyno</span>'
        return
    yield '<ul class="dynos">'
    for dyno in dynos:
        effect = effects.get((server, dyno))
        if effect is None:
            yield f'<li><span class="dyno">{_text(dyno)}</span></li>'
        else:
            word = {"start": "starts", "restart": "restarts", "stop": "stops"}[effect]
            link = f"#{_id(server, dyno)}"
            yield f'<li><a class="dyno {_EFFECTS[effect]}" href="{link}">{_text(dyno)} <i>{word}</i></a></li>'
    yield "</ul>"


def _rollout(plan: Plan) -> Iterator[str]:
    if not plan.batches:
        return
    yield '<section aria-labelledby="rollout">\n<h2 id="rollout">The rollout</h2>\n<div class="table" tabindex="0" '
    yield 'role="region" aria-labelledby="rollout">\n<table>\n<thead><tr><th scope="col">Batch</th>'
    yield '<th scope="col">Restarts</th><th scope="col">Stays up meanwhile</th></tr></thead>\n<tbody>'
    for number, (batch, left) in enumerate(zip(plan.batches, plan.capacity(), strict=True), 1):
        bars = [
            f'<span class="bar" aria-hidden="true"><span style="width:{100 * have // max(1, whole)}%"></span></span>'
            f"{have} of {whole} {_text(type_)}"
            for type_, (have, whole) in left.items()
        ]
        yield f'<tr><th scope="row">{number}</th><td>{_text(", ".join(batch))}</td><td>{"<br>".join(bars)}</td></tr>'
    yield "</tbody>\n</table>\n</div>\n</section>"


def _changes(plan: Plan, headlines: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield '<section aria-labelledby="changes">\n<h2 id="changes" tabindex="-1">The changes</h2>'
    if not plan.changes:
        yield f"<p>{_text(summary(plan, _PLAIN))}</p>"
    by_server: dict[str, dict[str, list[Change]]] = {}
    for change in plan.changes:
        group = change.resource.dyno or ""
        by_server.setdefault(change.resource.server, {}).setdefault(group, []).append(change)
    for server, groups in by_server.items():
        yield f'<div class="on" id="{_id(server)}">\n<h3>{_text(server)}</h3>'
        for dyno, changes in groups.items():
            yield from _group(server, dyno, changes, headlines)
        yield "</div>"
    yield "</section>"


def _group(server: str, dyno: str, changes: Sequence[Change], headlines: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """One dyno's changes, or those of what all dynos of a server stand on. The anchor is inside: a link opens it."""
    effect = next((change.effect for change in changes if change.effect), None)
    word = EFFECTS[effect] if effect else ""
    class_ = _EFFECTS[effect] if effect else _CLASSES[changes[0].action]
    kinds = ", ".join(dict.fromkeys(change.resource.kind for change in changes))
    badge = f'<span class="what {class_}">{word}</span>' if word else ""
    many = f"{len(changes)} change{'' if len(changes) == 1 else 's'}: {kinds}"
    drift = ' <span class="what gone">changed by hand</span>' if any(change.drift for change in changes) else ""
    yield f"<details>\n<summary><b>{_text(dyno or 'What dynos stand on')}</b>{badge}{drift}"
    yield f'<span class="why">{_text(many)}</span></summary>\n<div class="diff" id="{_id(server, dyno or "server")}">'
    for change in changes:
        yield from _change(change, headlines.get(change.resource.kind, ()))
    yield "</div>\n</details>"


def _change(change: Change, headline: Sequence[str]) -> Iterator[str]:
    head, *short = change_lines(change, headline, _PLAIN, verbose=False)
    whole = change_lines(change, headline, _PLAIN, verbose=True)[1:]
    address, _, why = head.partition("  # ")
    symbol = SYMBOLS[change.action]
    said = f" <span>{_text(why)}</span>" if why else ""
    yield f"<h4>{symbol} {_text(address.removeprefix(symbol).strip())}{said}</h4>"
    shown = [line for line in short if not line.strip().startswith("(")]
    if shown:
        yield f"<pre>{''.join(map(_line, shown))}</pre>"
    more = [line for line in whole if line not in shown]
    if more:
        yield f"<details><summary>{len(more)} more attributes</summary><pre>{''.join(map(_line, more))}</pre></details>"


def _line(line: str) -> str:
    mark = line.strip()[:1]
    class_ = f' class="{_LINES[mark]}"' if mark in _LINES else ""
    return f"<span{class_}>{_text(line.strip())}\n</span>"


def _sorted(dynos: Iterator[str]) -> list[str]:
    return sorted(dynos, key=naming.dyno_order)


def _id(server: str, part: str = "") -> str:
    """A name for an anchor: no server's or dyno's name holds more than letters, digits, dots and dashes."""
    return html.escape(f"on-{server}" + (f"_{part}" if part else ""), quote=True)


def _text(words: str) -> str:
    return html.escape(printable(words), quote=True)
