"""A plan as Markdown for a pull request: the summary first, then each server's changes, folded; those of a large
fleet together."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from infra.model import naming
from infra.model.provider import Brief
from infra.model.ranges import shortened
from infra.model.text import quantity
from infra.plan.plan import Plan
from infra.views import alike_errors, plan_screen, unreachable
from infra.views.plan_screen import FLEET
from infra.views.plan_text import SYMBOLS, change_lines, check_lines, gates, is_cleanup, options, release_lines, summary
from infra.views.style import Style, clean, one_line
from infra.views.under_way import above

LIMIT = 65_536
"""The longest comment on GitHub, in characters."""

_ROWS = 40
"""Batches that have a line each; more are one line."""

_DYNOS = 12
"""Dynos of a batch that are named one by one."""

_RESERVE = 300
"""Characters kept free for the frame of a section, and for what is left out."""

_LIVE = re.compile(
    r"(?<=[@#!%&~^$])(?=[\w\"'])"  # @team, user@host, #1, !1, %milestone, ~label
    r"|(?<=\w)(?=://)|(?<=www)(?=\.)|(?<=mailto)(?=:)|(?<=xmpp)(?=:)|(?<=GH)(?=-\d)"  # links
    r"|(?<=^/)(?=[a-z])",  # quick actions
    re.IGNORECASE,
)

_PLAIN = Style(False)
_MARKS = {"create": "+", "delete": "-"}
_SIGNS = {"~": "!", "↻": "!"}
_NONE: Mapping[str, Brief] = MappingProxyType({})


def render(plan: Plan, briefs: Mapping[str, Brief] = _NONE, *, verbose: bool = False, limit: int = LIMIT) -> str:
    """The whole plan in at most ``limit`` characters. ``briefs`` says, by kind, which attributes are worth a line.
    Servers that do not fit are left out and named. Of changes on more than ``plan_screen.FLEET`` servers, alike ones
    are together. ``verbose``: every change, with all attributes."""
    head = [
        f"### dynoctl plan: {_code(plan.app)}",
        "",
        *(line for words in above(plan) for line in ("> [!IMPORTANT]", f"> {_text(words)}", "")),
        _summary(plan),
        *(["", f"_{_text(words)}_"] if (words := options(plan)) else []),
        *_alerts(plan),
        *_batches(plan),
        *_checks(plan),
        *_placement(plan),
    ]
    text = _within("\n".join(head) + "\n", limit // 2)
    if len(plan.by_server) > FLEET and not verbose:
        return text + _together(plan, briefs, limit - len(text))
    left = []
    for server, changes in plan.by_server.items():
        counts: Counter[str] = Counter()
        lines: list[str] = []
        for change in changes:
            if verbose or not is_cleanup(change):
                own = change_lines(change, (), _PLAIN, verbose=True)
                if not verbose:
                    own[1:] = map(
                        clean, plan_screen.brief_lines(change, briefs.get(change.resource.kind, Brief()), _PLAIN)
                    )
                lines += _diff(own, _MARKS.get(change.action, "!"), SYMBOLS[change.action])
            counts[{"create": "to add", "delete": "to destroy"}.get(change.action, "to change")] += 1
        lines += [] if verbose else map(clean, plan_screen.cleanup_line(changes, _PLAIN))
        what = ", ".join(f"{number} {verb}" for verb, number in counts.items())
        section = _folded(f"<b>{_html(server)}</b>: {what}", lines)
        if len(text) + len(section) + _RESERVE > limit:
            left.append(server)
        else:
            text += section
    if left:
        names = ", ".join(_code(server) for server in left[:5]) + (", ..." if len(left) > 5 else "")
        text += f"\n_Left out for length: {names} ({len(left)} of {len(plan.by_server)} servers)._\n"
    return text


def _together(plan: Plan, briefs: Mapping[str, Brief], limit: int) -> str:
    """The changes on all servers with alike ones together, in at most ``limit`` characters."""
    lines: list[str] = []
    for line in map(clean, plan_screen.folded(plan, briefs, _PLAIN)):
        mark, rest = line[:1], line[1:]
        lines += _diff(["", line], "", "")[1:] if mark == " " else [f"{_SIGNS.get(mark, mark)}{rest}"]
    kept, size = 0, _RESERVE
    for line in lines:
        size += len(line) + 1
        if size > limit:
            break
        kept += 1
    what = f"{quantity(len(plan.changes), 'change')} on {quantity(len(plan.by_server), 'server')}"
    section = _folded(f"<b>{what}</b>, alike ones together", lines[:kept])
    more = f"\n_Left out for length: {quantity(len(lines) - kept, 'more line')}._\n" if kept < len(lines) else ""
    return section + more


def _within(text: str, most: int) -> str:
    """``text``, cut at the end of a line if it is longer than ``most`` characters."""
    if len(text) <= most:
        return text
    whole = text[: text.rfind("\n", 0, most)]
    left = text.count("\n") - whole.count("\n")
    return f"{whole}\n\n_Left out for length: {left} more lines._\n"


def _summary(plan: Plan) -> str:
    line = summary(plan, _PLAIN).removeprefix("Plan: ")
    first, dot, rest = line.partition(". ")
    return f"**{_text(first)}{dot.strip()}** {_text(rest)}".rstrip()


def _alerts(plan: Plan) -> list[str]:
    lines: list[str] = []
    for error in alike_errors.folded(plan):
        lines += ["", "> [!CAUTION]", f"> {_text(error.summary)}", *([f"> {_text(error.hint)}"] if error.hint else [])]
    for group in unreachable.grouped({name: (one.summary, "") for name, one in plan.unreachable.items()}):
        lines += ["", "> [!WARNING]", f"> Unreachable: {_text(group.summary)}"]
    notes = [f"> {_text(note)}." for note in plan.notes]
    more = len(notes) - plan_screen.NOTES
    lines += ["", *(notes if more <= 1 else [*notes[:-more], f"> ... and {more} more notes"])] if notes else []
    drifted = [change.address for change in plan.changes if change.drift]
    if drifted:
        shown = ", ".join(_code(address) for address in drifted[:5]) + (", ..." if len(drifted) > 5 else "")
        lines += ["", "> [!IMPORTANT]", f"> Drift, changed by hand since the last apply: {shown}"]
    return lines


def _batches(plan: Plan) -> list[str]:
    lines = [f"- {_text(line)}" for line in [*gates(plan), *release_lines(plan)]]
    if lines:
        lines = ["", *lines]
    if len(plan.batches) > _ROWS:
        return [*(lines or [""]), *(f"- {_text(line)}" for line in plan_screen.batch_line(plan, _PLAIN))]
    if plan.batches:
        lines += ["", "| batch | restarts | still up |", "|---|---|---|"]
        for number, (batch, left) in enumerate(zip(plan.batches, plan.capacity(), strict=True), 1):
            capacity = ", ".join(f"{have} of {whole} {type_}" for type_, (have, whole) in left.items())
            dynos = ", ".join(batch) if len(batch) <= _DYNOS else shortened(batch, "dyno")
            lines.append(f"| {number} | {_text(dynos)} | {_text(capacity)} |")
    return lines


def _checks(plan: Plan) -> list[str]:
    lines = [f"- {_text(line)}" for line in check_lines(plan, _PLAIN) if line]
    return ["", *lines] if lines else []


def _placement(plan: Plan) -> list[str]:
    formation = plan.formation
    if not plan.changes or not formation.homes:
        return []
    if len({*formation.homes.values(), *plan.by_server}) > FLEET:
        lines = ["", "| servers | dynos | changes on each |", "|---|---|---|"]
        for kind in plan_screen.kinds(plan):
            names = f"{len(kind.servers)}: {shortened(kind.servers, 'server')}"
            lines.append(f"| {_text(names)} | {_text(kind.dynos)} | {kind.changes} |")
        return [*lines, ""]
    effects = plan.effects()
    by_server: dict[str, list[str]] = {}
    for dyno in sorted(formation.homes, key=naming.dyno_order):
        home, was = formation.homes[dyno], formation.before.get(dyno)
        effect = effects.get((home, dyno))
        word = _text(f"{dyno} (from {was})" if was not in (None, home) else dyno)
        by_server.setdefault(home, []).append(f"**{word}**" if effect else word)
    lines = ["", "| server | dynos (bold: starts or restarts) |", "|---|---|"]
    for server, dynos in sorted(by_server.items()):
        more = f" and {len(dynos) - _ROWS} more" if len(dynos) > _ROWS else ""
        lines.append(f"| {_text(server)} | {', '.join(dynos[:_ROWS])}{more} |")
    return [*lines, ""]


def _diff(lines: Sequence[str], mark: str, symbol: str) -> list[str]:
    """A change for a ``diff`` block, where the first character of a line sets its colour."""
    found = [f"{mark} {lines[0].removeprefix(symbol).strip()}"]
    for line in lines[1:]:
        stripped = line.strip()
        own = stripped[0] if stripped[:2] in ("+ ", "- ") else " "
        indent = " " * max(1, len(line) - len(line.lstrip()) - 2)
        found.append(f"{own}{indent}{stripped[2:] if own != ' ' else stripped}")
    return found


def _folded(title: str, lines: Sequence[str]) -> str:
    body = "\n".join(lines)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", body)), default=0))
    return f"\n<details><summary>{title}</summary>\n\n{fence}diff\n{body}\n{fence}\n\n</details>\n"


def _text(words: str) -> str:
    """Untrusted text, escaped so that it is neither Markdown nor HTML, and names nobody."""
    return _inert(re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", one_line(words)))


def _html(words: str) -> str:
    """Untrusted text for HTML in Markdown."""
    return re.sub(r"[\[\]`*_\\$]", lambda found: f"&#{ord(found[0])};", html.escape(_inert(one_line(words))))


def _inert(text: str) -> str:
    """Text without live mentions, references, links and commands: a space without width is in each.

    GitHub and GitLab look for them in the text that is shown, so a backslash does not help."""
    return _LIVE.sub("\u200b", text)


def _code(word: str) -> str:
    return f"`{one_line(word).replace('`', '')}`"
