"""A plan as one self-contained HTML page: what becomes of every dyno and server, and every difference.

This module collects what the page says; how it looks is in ``plan.html.j2`` and ``page.css``. It imports Jinja, so it
is imported only if a page was asked for."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from infra import __version__
from infra.model.provider import Brief
from infra.model.source_change import FileDiff, SourceChange, SourceDiff
from infra.model.text import quantity
from infra.plan.plan import Plan
from infra.views import alike_errors, unreachable
from infra.views.page_changes import MINUS, Group, Values, groups
from infra.views.page_fleet import cards
from infra.views.page_rollout import least_up, rollout
from infra.views.plan_text import dynos_that, gates, options, summary, uncommitted
from infra.views.style import Style, printable
from infra.views.under_way import above

_PLAIN = Style(False)
LARGEST = 1 << 20
"""Characters of all diffs of files that are shown; of more, only what the files are."""

SHORT = 60
"""Lines of all diffs of files that are open at once; more are folded."""

_LINES = {"+": "add", "-": "gone", "@": "soft"}
_FILES = {"A": ("+", "add"), "D": (MINUS, "gone")}


@dataclass(frozen=True)
class Made:
    """Who made a plan, when (UTC, ISO 8601), from which manifest, and the digest of its JSON."""

    who: str
    when: str
    file: str
    digest: str
    destination: str = ""


def render(plan: Plan, briefs: Mapping[str, Brief], made: Made, diff: SourceDiff | None = None) -> str:
    """The whole page. It loads nothing, runs no script and holds no secret's value. ``briefs`` says, by kind, which
    attributes are worth a line; the others are folded. ``diff`` is of the app's files, if it was asked for."""
    package = files("infra.views")
    style = f"\n{package.joinpath('page.css').read_text('utf-8')}"
    changes = groups(plan, briefs)
    return _template(package.joinpath("plan.html.j2").read_text("utf-8")).render(
        style=style,
        style_digest=b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        app=plan.app,
        release=_release(plan),
        summary=summary(plan, _PLAIN),
        verdict=list(_verdict(plan)),
        mood=_mood(plan),
        counts=list(_counts(plan)),
        facts=list(_facts(plan, made)),
        alerts=list(_alerts(plan)),
        checks=list(_checks(plan)),
        notes=[*([words] if (words := options(plan)) else []), *(f"{note}." for note in plan.notes)],
        source=_source(plan, diff),
        servers=cards(plan, changes),
        rollout=rollout(plan),
        gates=gates(plan),
        filters=_filters(changes),
        groups=[group.values for group in changes],
        version=__version__,
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


def _release(plan: Plan) -> Values:
    """The releases before and after, such as v13 and v14; "" where there is none, or it is not known."""
    old, new = ("" if one is None else f"v{one.number}" for one in (plan.running, plan.release))
    of = 0 if plan.release is None else plan.release.of
    return {"old": "" if old == new else old, "new": new, "note": f"a rollback to v{of}" if of else ""}


def _verdict(plan: Plan) -> Iterator[str]:
    """What becomes of the app: a headline, and at most two more sentences."""
    if plan.errors:
        yield f"This plan cannot be applied: {quantity(len(plan.errors), 'error')}."
    if not plan.changes:
        yield summary(plan, _PLAIN)
        return
    counts = plan.counts()
    said = [dynos_that(counts[verb], verb) for verb in ("restart", "start", "stop") if counts[verb]]
    if len(plan.batches) > 1:
        said[0] += f" in {len(plan.batches)} batches"
    dynos = f"{', '.join(said)}." if said else "No dyno starts, restarts or stops."
    if _destroys(plan):
        yield f"{plan.app} is destroyed: {dynos}"
        yield f"{quantity(len(plan.changes), 'resource')} removed from {quantity(len(plan.servers), 'server')}."
        return
    yield dynos
    if least := [f"{have} of {whole} {type_}" for type_, (have, whole) in least_up(plan).items()]:
        yield f"Never fewer up than {', '.join(least)}."


def _destroys(plan: Plan) -> bool:
    """Whether nothing of the app remains where something was."""
    return not plan.formation.homes and bool(plan.changes) and all(change.action.removes for change in plan.changes)


def _mood(plan: Plan) -> str:
    """The colour of the verdict: an error, nothing to do, only removals, or changes."""
    if plan.errors:
        return "gone"
    if not plan.changes:
        return "change" if plan.unreachable else "add"
    return "gone" if _destroys(plan) else "move"


def _counts(plan: Plan) -> Iterator[Values]:
    counts = plan.counts()
    for symbol, number, words, class_ in (
        ("+", counts["add"], "to add", "add"),
        ("~", counts["change"], "to change", "change"),
        (MINUS, counts["destroy"], "to destroy", "gone"),
        ("!", sum(change.drift for change in plan.changes), "changed by hand", "hand"),
        ("…", plan.left_out, "left out", ""),
    ):
        if number or (plan.changes and words.startswith("to ")):
            yield {"class": class_ if number else "", "symbol": symbol, "number": number, "words": words}


def _facts(plan: Plan, made: Made) -> Iterator[Values]:
    """What the plan was made from."""
    was = plan.running
    commits = [one for one in ("" if was is None else was.commit, plan.commit) if one]
    for name, value, code in (
        ("Commit", " → ".join(dict.fromkeys(commits)), True),
        ("Manifest", made.file, True),
        ("Destination", made.destination or "default", False),
        ("Author", made.who, False),
        ("Made", _moment(made.when), False),
        (
            "" if was is None else f"v{was.number} applied",
            "" if was is None or not was.who else f"{_moment(was.when)}, {was.who}",
            False,
        ),
        ("Plan digest", made.digest[:12], True),
    ):
        if value:
            yield {"name": name, "value": value, "code": code}


def _moment(when: str) -> str:
    """``2026-11-29 10:22 UTC``, of a time in ISO 8601."""
    return f"{when[:10]} {when[11:16]} UTC" if len(when) == 20 and when.endswith("Z") else when


def _alerts(plan: Plan) -> Iterator[Values]:
    for diagnostic in alike_errors.folded(plan):
        at = diagnostic.location
        yield {
            "class": "gone",
            "kind": "Error",
            "words": diagnostic.summary,
            "place": diagnostic.path if at is None else f"{at.file}:{at.line}:{at.column}",
            "more": [diagnostic.expected and f"Expected: {diagnostic.expected}", diagnostic.hint],
        }
    stuck = unreachable.stuck_dynos(plan)
    for group in unreachable.grouped({name: (one.summary, one.hint) for name, one in plan.unreachable.items()}):
        dynos = sum(len(stuck.get(server, ())) for server in group.servers)
        many = len(group.servers)
        on = f"of {group.servers[0]}" if many == 1 else f"on {quantity(many, 'server')}"
        stay = f"{quantity(dynos, 'dyno')} {on} {'stays' if dynos == 1 else 'stay'} unchanged." if dynos else ""
        hint = " ".join(filter(None, (group.hint and f"{group.hint}.", stay)))
        yield {"class": "change", "kind": "Unreachable", "words": group.summary, "place": "", "more": [hint]}
    for words in above(plan):
        yield {"class": "change", "kind": "Attention", "words": words, "place": "", "more": []}


def _checks(plan: Plan) -> Iterator[Values]:
    for check in sorted(plan.checks, key=lambda check: check.passed):
        yield {
            "symbol": "✓" if check.passed else "✗",
            "class": "add" if check.passed else "gone",
            "name": check.name,
            "word": "passed" if check.passed else "failed",
            "detail": check.detail,
        }
    for type_, scores in plan.exposure.items():
        was, will = ("unknown" if score is None else f"{score:g}" for score in scores)
        score = will if was in (will, "unknown") else f"{was} → {will}"
        detail = "systemd-analyze security; 0 is best, 10 worst"
        yield {"symbol": "", "class": "", "name": f"exposure/{type_}", "word": score, "detail": detail}


def _source(plan: Plan, diff: SourceDiff | None) -> Values | None:
    """What changes in the files of the app: commits, and files with their lines if there is a diff."""
    if plan.source is None and diff is None:
        return None
    source, diff = plan.source or SourceChange(), diff or SourceDiff()
    released = 0 if plan.running is None else plan.running.number
    files = diff.files or tuple(FileDiff(status, path) for status, path in source.files)
    whole = sum(len(file.text) for file in files) <= LARGEST
    shown = [_file(file, whole=whole) for file in files]
    more = diff.more if diff.files else source.more_files
    words = uncommitted(source, released)
    return {
        "reason": diff.reason,
        "commits": source.commits,
        "more_commits": source.more_commits,
        "files": shown,
        "listed": bool(more or words or not all(file["lines"] for file in shown)),
        "short": sum(file.text.count("\n") + 1 for file in files if file.text) <= SHORT,
        "more_files": more,
        "uncommitted": words,
    }


def _file(file: FileDiff, *, whole: bool) -> Values:
    symbol, class_ = _FILES.get(file.status, ("~", "change"))
    lines = file.text.split("\n") if file.text else []
    counts = [sum(line.startswith(sign) for line in lines) for sign in "+-"]
    return {
        "symbol": symbol,
        "class": class_,
        "path": file.path,
        "note": file.note or (f"+{counts[0]} {MINUS}{counts[1]}" if lines else ""),
        "lines": [{"class": _LINES.get(line[:1], ""), "text": line} for line in lines if whole],
    }


def _filters(changes: Sequence[Group]) -> list[Values]:
    """The kinds of changes that can be shown alone: those that there are."""
    kinds = (
        ("add", "+ Create"),
        ("change", "~ Change"),
        ("restart", "↻ Restart"),
        ("gone", f"{MINUS} Destroy"),
        ("hand", "Changed by hand"),
    )
    used = {word for group in changes for word in group.values["classes"].split()}
    return [{"id": kind, "words": words} for kind, words in kinds if f"is-{kind}" in used]
