"""A plan as text: every change with its attributes, then a summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence

from infra.model import naming
from infra.model.ranges import ranges, shortened
from infra.model.resource import Action, Change
from infra.model.source_change import SourceChange
from infra.model.text import quantity, size
from infra.plan.plan import Plan
from infra.views import unreachable
from infra.views.attributes import Value, differences, flat, text
from infra.views.long_values import beginning, differing
from infra.views.style import Style, clean, one_line
from infra.views.under_way import above

SYMBOLS = {"create": "+", "update": "~", "delete": "-", "restart": "↻"}
COLORS = {"create": "green", "update": "yellow", "delete": "red", "restart": "cyan"}
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
OF_RELEASE = re.compile(r"@([0-9a-f]{12,64})$")
"""The end of the name of what belongs to a release, and not to a dyno."""

CLEANUP = "no dyno needs {} any more"
"""Why what belongs to a release, it or them, is removed."""

NAMED = 6
"""Servers that are named one by one."""

MEMBERS = 12
"""Dynos of a batch that are named one by one."""

FILES, COMMITS = 6, 3
"""Changed files and commits that are named."""

_SECONDS = ("Sec", "X-Dynoctl-Idle")
_SIZES = ("MemoryMax", "MemoryHigh", "MemorySwapMax", "size")
EFFECTS = {"start": "starts", "restart": "restarts", "stop": "stops"}


def render(plan: Plan, headlines: Mapping[str, Sequence[str]], style: Style, *, verbose: bool = False) -> str:
    """The whole plan. ``headlines`` holds, by kind, the attributes to show of a new resource."""
    lines = [style("bold", line) for line in above(plan)]
    lines += [""] if lines else []
    for change in plan.changes:
        lines += change_lines(change, headlines.get(change.resource.kind, ()), style, verbose=verbose)
    if plan.changes:
        before = [*gates(plan), *release_lines(plan)]
        lines += ["", *_placement(plan, style), *([""] if before else []), *before, *batch_lines(plan, style), ""]
    lines += check_lines(plan, style)
    lines += [f"Note: {note}." for note in plan.notes]
    lines += unreachable.lines(plan, style, each=True)
    lines.append(summary(plan, style))
    return "\n".join(map(clean, lines))


def options(plan: Plan) -> str:
    """The options with which the plan was made, as a sentence; "" without any."""
    return f"The plan was made with {' '.join(map(one_line, plan.options))}." if plan.options else ""


def check_lines(plan: Plan, style: Style) -> list[str]:
    """The exposure of the units that change, if it was rated, and the results of the policy checks."""
    lines = []
    for type_, (was, will) in plan.exposure.items():
        words = [f"{score:g}" if score is not None else "unknown" for score in (was, will)]
        change = words[1] if was in (None, will) else f"{words[0]} -> {words[1]}"
        lines.append(f"Exposure of {type_}: {change} {style('dim', '(systemd-analyze security; 0 is best, 10 worst)')}")
    for check in plan.checks:
        mark = style("green", "passed") if check.passed else style("red", "FAILED")
        lines.append(f"Check {check.name} {mark}: {one_line(check.detail)}")
    return [*lines, ""] if lines else []


def batch_lines(plan: Plan, style: Style, names: Callable[[Sequence[str]], str] = ranges) -> list[str]:
    """The dynos of each rollout batch, by ``names`` if they are many, and how many of their type are still up while it
    restarts."""
    lines = []
    for number, (batch, left) in enumerate(zip(plan.batches, plan.capacity(), strict=True), 1):
        capacity = ", ".join(f"{have} of {whole} {type_}" for type_, (have, whole) in left.items())
        dynos = ", ".join(batch) if len(batch) <= MEMBERS else names(batch)
        lines.append(f"Batch {number}: {dynos}  {style('dim', f'# still up: {capacity}')}")
    most = 12
    return [*lines[:most], *([f"... and {len(lines) - most} more batches"] if len(lines) > most else [])]


def summary(plan: Plan, style: Style) -> str:
    """The last line of the plan, with the number of changes."""
    if not plan.changes:
        if plan.left_out:
            return "No changes to the selected resources."
        if plan.fleet and plan.fleet.keys() <= plan.unreachable.keys():
            return "No changes are known, as no server can be reached."
        if plan.unreachable:
            return "No changes on the reachable servers."
        match = f"The servers match {plan.wanted}." if plan.wanted else f"There is nothing of {plan.app} to destroy."
        return f"{style('green', 'No changes.')} {match}"
    counts = plan.counts()
    drifted = sum(change.drift for change in plan.changes)
    drift = f" Drift: {quantity(drifted, 'resource')} changed by hand." if drifted else ""
    effects = ", ".join(dynos_that(counts[verb], verb) for verb in ("start", "restart", "stop") if counts[verb])
    return (
        f"{style('bold', 'Plan:')} {counts['add']} to add, {counts['change']} to change, "
        f"{counts['destroy']} to destroy. {effects or 'No dyno starts, restarts or stops'}.{drift}"
    )


def dynos_that(number: int, verb: str) -> str:
    """``1 dyno restarts``, ``2 dynos restart``."""
    return f"1 dyno {verb}s" if number == 1 else f"{number} dynos {verb}"


def change_lines(
    change: Change, headline: Sequence[str], style: Style, *, verbose: bool, only: Container[str] | None = None
) -> list[str]:
    """A change with its attributes. ``only`` limits the differing ones to these dotted names."""
    color = COLORS[change.action]
    reason = CLEANUP.format("it") if is_cleanup(change) else change.reason
    says = [word for word in (change.effect and f"{change.resource.dyno} {EFFECTS[change.effect]}", reason) if word]
    drift = style("red", "drift: ") if change.drift else ""
    note = f"  {style('dim', '#')} {drift}{'; '.join(says)}" if says else ""
    lines = [f"{style(color, SYMBOLS[change.action])} {style('bold', change.address)}{note}"]
    if change.action is Action.CREATE:
        values = flat(change.after)
        shown = [name for name in values if verbose or not headline or _named(name, headline)]
        lines += [f"    {style('green', '+')} {name} = {value_words(name, values[name])}" for name in shown]
        if len(shown) < len(values):
            lines.append(style("dim", f"      ({len(values) - len(shown)} more; show them with --verbose)"))
    elif change.action is Action.UPDATE:
        for name, old, new in differences(change.before or {}, change.after or {}):
            if only is None or name in only or name.partition(".")[0] in only:
                lines += difference(name, old, new, style, whole=verbose)
    return [clean(line) for line in lines]


def is_cleanup(change: Change) -> bool:
    """Whether a change only removes what belongs to a release that no dyno needs."""
    return change.action is Action.DELETE and not change.drift and bool(OF_RELEASE.search(change.resource.name))


def _named(name: str, headline: Sequence[str]) -> bool:
    return name in headline or name.partition(".")[0] in headline


def difference(
    name: str, old: Value, new: Value, style: Style, *, drift: bool = False, whole: bool = False
) -> list[str]:
    """An attribute before and after, with long values shortened unless they are shown ``whole``. ``drift``: it was
    changed by hand, to what it is before, and is never shortened."""
    had, has = value_words(name, old), value_words(name, new)
    whole = whole or drift
    note = f"  {style('dim', '#')} {style('red', 'by hand:')} {has} -> {had}" if drift else ""
    if old is None:
        return [
            f"    {style('green', '+')} {name} = {has if whole else beginning(has)}"
            + (f"  {style('dim', '#')} {style('red', 'removed by hand')}" * drift)
        ]
    if new is None:
        return [
            f"    {style('red', '-')} {name} = {had if whole else beginning(had)}"
            + (f"  {style('dim', '#')} {style('red', 'added by hand')}" * drift)
        ]
    if isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
        # A directive that occurs several times, such as Environment=: show only the lines that differ.
        lines, wanted = old.split("\n"), new.split("\n")
        gone = [value_words(name, line) for line in lines if line not in wanted]
        come = [value_words(name, line) for line in wanted if line not in lines]
        if not whole and len(gone) == len(come):
            pairs = [differing(had, has) for had, has in zip(gone, come, strict=True)]
            gone, come = [had for had, _ in pairs], [has for _, has in pairs]
        elif not whole:
            gone, come = [*map(beginning, gone)], [*map(beginning, come)]
        return [
            f"    {style('yellow', '~')} {name}:",
            *(f"        {style('red', '-')} {line}" for line in gone),
            *(f"        {style('green', '+')} {line}" for line in come),
        ]
    if not whole:
        had, has = differing(had, has)
    return [f"    {style('yellow', '~')} {name}: {had} {style('dim', '->')} {has}{note}"]


def value_words(name: str, value: Value) -> str:
    """A value as text: sizes and spans of time as people write them, long digests as 12 digits."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        if name.endswith(_SIZES):
            return size(int(value))
        if name.endswith(_SECONDS):
            return f"{value} s"
    return _DIGEST.sub(r"\1", one_line(text(value)))


def gates(plan: Plan) -> list[str]:
    """What must succeed before any dyno is changed."""
    lines = []
    if plan.build:
        commands = "; ".join(one_line(command) for command in plan.build)
        lines.append(f"The slug is built first{f' on {plan.builder}' if plan.builder else ''}: {commands}")
    if plan.delivery:
        lines.append(f"The slug is {one_line(plan.delivery)}.")
    if plan.release_on:
        lines.append(f"The release command runs once, on {plan.release_on}.")
    if plan.candidates:
        where = shortened(plan.candidates, "server")
        lines.append(f"A candidate must become healthy on {where} before any dyno is changed.")
    if plan.waves:
        values = ", ".join(f"{one_line(value)} ({quantity(count, 'batch')})" for value, count in plan.waves)
        lines.append(f"The dynos restart in waves: {values}.")
    return lines


def release_lines(plan: Plan) -> list[str]:
    """The release that the apply creates, and what changed in the source since the one that runs: files and commits."""
    if not plan.fresh or plan.release is None:
        return []
    new = f"Creates release v{plan.release.number}"
    if plan.release.of:
        return [f"{new}, a rollback to v{plan.release.of}; migrations are not reverted."]
    if plan.running is None:
        return [f"{new}."]
    after = f"{new} after v{plan.running.number}"
    if plan.source is not None:
        return [f"{after}: {_changed(plan.source, plan.running.number)}."]
    # Without git, only that they changed is known before they are compared.
    other = plan.release.slug != plan.running.slug
    return [f"{after}: the files of the app changed; to see how: dynoctl plan --diff" if other else f"{after}."]


def _changed(source: SourceChange, released: int) -> str:
    said = [_first(_paths(source.files), FILES, source.more_files)] if source.files else []
    subjects = [f'"{one_line(subject)}"' for subject in source.commits]
    commits = len(subjects) + source.more_commits
    if commits:
        said.append(f"{quantity(commits, 'commit')}: {_first(subjects, COMMITS, source.more_commits)}")
    said += uncommitted(source, released)
    return "; ".join(said) or "nothing that git tracks; to see what: dynoctl plan --diff"


def uncommitted(source: SourceChange, released: int) -> list[str]:
    """What is not committed of the source, and whether the release that runs was."""
    said = []
    if source.uncommitted:
        said.append(f"uncommitted changes in {_first(_paths(source.uncommitted), FILES, source.more_uncommitted)}")
    if source.untracked:
        new = [f"+ {one_line(path)}" for path in source.untracked]
        said.append(f"in the release, but not tracked by git: {_first(new, FILES, source.more_untracked)}")
    if source.released_dirty:
        said.append(f"v{released} had uncommitted changes")
    return said or ["not all of it is committed"] * source.dirty  # a plan that an earlier version saved


def _paths(files: Sequence[tuple[str, str]]) -> list[str]:
    marks = {"A": "+ ", "D": "- "}
    return [f"{marks.get(status, '')}{one_line(path)}" for status, path in files]


def _first(words: Sequence[str], most: int, more: int) -> str:
    """The first words, and how many more there are."""
    more += max(0, len(words) - most)
    return ", ".join([*words[:most], *([f"{more} more"] if more else [])])


def _placement(plan: Plan, style: Style) -> list[str]:
    """The dynos of every server after the apply, one line per server, with where dynos move from."""
    by_server: dict[str, list[str]] = {}
    formation = plan.formation
    for dyno in sorted(formation.homes, key=naming.dyno_order):
        home, was = formation.homes[dyno], formation.before.get(dyno)
        word = dyno if was == home else f"{dyno} {style('green', '(new)' if was is None else f'(from {was})')}"
        by_server.setdefault(home, []).append(word)
    width = max((len(server) for server in by_server), default=0)
    return [f"{server:<{width}}  {', '.join(dynos)}" for server, dynos in sorted(by_server.items())]
