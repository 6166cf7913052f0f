"""A plan as Markdown for a pull request: the summary first, then each server's changes, folded."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence

from infra.model import naming
from infra.plan.plan import Plan
from infra.views.plan_text import SYMBOLS, change_lines, check_lines, gates, options, release_lines, summary
from infra.views.style import Style, one_line
from infra.views.under_way import above

LIMIT = 65_536
"""The longest comment on GitHub, in characters."""

_ROWS = 40
"""The most lines of a table; the HTML page shows the whole of a large fleet."""

_LIVE = re.compile(
    r"(?<=[@#!%&~^$])(?=[\w\"'])"  # @team, user@host, #1, !1, %milestone, ~label
    r"|(?<=\w)(?=://)|(?<=www)(?=\.)|(?<=mailto)(?=:)|(?<=xmpp)(?=:)|(?<=GH)(?=-\d)"  # links
    r"|(?<=^/)(?=[a-z])",  # quick actions
    re.IGNORECASE,
)

_PLAIN = Style(False)
_MARKS = {"create": "+", "delete": "-"}


def render(plan: Plan, headlines: Mapping[str, Sequence[str]], *, limit: int = LIMIT) -> str:
    """The whole plan in at most ``limit`` characters. Servers that do not fit are left out and named."""
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
    by_server: dict[str, list[str]] = {}
    counts: dict[str, dict[str, int]] = {}
    for change in plan.changes:
        server = change.resource.server
        lines = change_lines(change, headlines.get(change.resource.kind, ()), _PLAIN, verbose=False)
        by_server.setdefault(server, []).extend(_diff(lines, _MARKS.get(change.action, "!"), SYMBOLS[change.action]))
        verb = {"create": "to add", "delete": "to destroy"}.get(change.action, "to change")
        counts.setdefault(server, {}).setdefault(verb, 0)
        counts[server][verb] += 1
    left = []
    reserve = 200
    for server, lines in by_server.items():
        what = ", ".join(f"{number} {verb}" for verb, number in counts[server].items())
        section = _folded(f"<b>{_html(server)}</b>: {what}", lines)
        if len(text) + len(section) + reserve > limit:
            left.append(server)
        else:
            text += section
    if left:
        names = ", ".join(_code(server) for server in left[:5]) + (", ..." if len(left) > 5 else "")
        text += f"\n_Left out for length: {names} ({len(left)} of {len(by_server)} servers)._\n"
    return text


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
    for error in plan.errors:
        lines += ["", "> [!CAUTION]", f"> {_text(error.summary)}", *([f"> {_text(error.hint)}"] if error.hint else [])]
    for server_error in plan.unreachable.values():
        lines += ["", "> [!WARNING]", f"> Unreachable: {_text(server_error.summary)}"]
    lines += ["", *(f"> {_text(note)}." for note in plan.notes)] if plan.notes else []
    drifted = [change.address for change in plan.changes if change.drift]
    if drifted:
        shown = ", ".join(_code(address) for address in drifted[:5]) + (", ..." if len(drifted) > 5 else "")
        lines += ["", "> [!IMPORTANT]", f"> Drift, changed by hand since the last apply: {shown}"]
    return lines


def _batches(plan: Plan) -> list[str]:
    lines = [f"- {_text(line)}" for line in [*gates(plan), *release_lines(plan)]]
    if lines:
        lines = ["", *lines]
    if plan.batches:
        lines += ["", "| batch | restarts | still up |", "|---|---|---|"]
        rows = list(zip(plan.batches, plan.capacity(), strict=True))
        for number, (batch, left) in enumerate(rows[:_ROWS], 1):
            capacity = ", ".join(f"{have} of {whole} {type_}" for type_, (have, whole) in left.items())
            dynos = ", ".join(batch[:_ROWS]) + (f" and {len(batch) - _ROWS} more" if len(batch) > _ROWS else "")
            lines.append(f"| {number} | {_text(dynos)} | {_text(capacity)} |")
        if len(rows) > _ROWS:
            lines.append(f"| ... | {len(rows) - _ROWS} more batches | |")
    return lines


def _checks(plan: Plan) -> list[str]:
    lines = [f"- {_text(line)}" for line in check_lines(plan, _PLAIN) if line]
    return ["", *lines] if lines else []


def _placement(plan: Plan) -> list[str]:
    formation = plan.formation
    if not plan.changes or not formation.homes:
        return []
    effects = plan.effects()
    by_server: dict[str, list[str]] = {}
    for dyno in sorted(formation.homes, key=naming.dyno_order):
        home, was = formation.homes[dyno], formation.before.get(dyno)
        effect = effects.get((home, dyno))
        word = _text(f"{dyno} (from {was})" if was not in (None, home) else dyno)
        by_server.setdefault(home, []).append(f"**{word}**" if effect else word)
    lines = ["", "| server | dynos (bold: starts or restarts) |", "|---|---|"]
    rows = sorted(by_server.items())
    lines += [f"| {_text(server)} | {', '.join(dynos[:_ROWS])} |" for server, dynos in rows[:_ROWS]]
    if len(rows) > _ROWS:
        lines.append(f"| ... | {len(rows) - _ROWS} more servers |")
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
