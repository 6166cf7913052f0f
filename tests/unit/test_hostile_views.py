"""No text of a manifest, in any field of a plan or an error, forges a line, a command of a CI's log or live Markdown."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli import fail
from infra.cli.app import app
from infra.engine import plan_file, plan_options
from infra.engine.prepared import Request
from infra.errors import Diagnostic, DynoctlError, Location, ManifestInvalid
from infra.model.events import Event, Report
from infra.plan.selection import Selection
from infra.registry import Everything
from infra.views import diagnostics, json_text, plan_document, plan_html, plan_markdown, plan_text, report_text, restart
from infra.views.progress import PlainProgress
from infra.views.stages import Stages
from infra.views.style import Style, one_line, printable

GOLDEN = Path(__file__).parents[1] / "golden/plan-1.json"
PLAIN = Style(False)
BRIEFS = Everything().briefs()

LOG = [
    "\n::error::x",
    "::error::x",
    "\n  ::set-output name=a::b",
    "\r\n::stop-commands::x",
    "##[error]x",
    "\n##[add-mask]x",
    "##vso[task.setvariable variable=a]b",
    "##teamcity[buildStatus status='SUCCESS']",
    "\x1b[0Ksection_start:1:a\r\x1b[0K",
    "\nPlan: 99 to add, 0 to change, 0 to destroy.",
    "\n\nNo changes. The servers match dyno.yaml.",
    "\u2028::error::x",
    "\x85::error::x",
    "\x0b::error::x",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H",
    "\u202e::rorre::",
    "\u2066hidden\u2069",
    "\x9b31m",
    "a\rb",
    "\b\b\b",
    "\x00",
    "\x7f",
]
MARKDOWN = [
    "@team",
    "@acme/security",
    "&#64;team",
    "&commat;team",
    "\\@team",
    "#123",
    "!123",
    "acme/shop#123",
    "GH-123",
    "%milestone",
    "~label",
    '~"a label"',
    "$1",
    "http://evil.example.org/x",
    "https://evil.example.org",
    "HTTPS://evil.example.org",
    "ftp://evil.example.org",
    "www.evil.example.org",
    "mailto:a@example.org",
    "a@example.org",
    "<https://evil.example.org>",
    "[x](https://evil.example.org)",
    "![x](https://evil.example.org/x.png)",
    "[x]: https://evil.example.org",
    "<img src=x onerror=alert(1)>",
    "<!-- x",
    "--> x",
    "</details>",
    "</summary><script>",
    "``` \n# x",
    "`x`",
    "**x**",
    "| a | b |",
    "# x",
    "- [x] done",
    "/close",
    "\n/approve",
    "$x$",
    "$$x$$",
    ":tada:",
]


def poisoned(value: Any, poison: str, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The document with one string replaced by poison, for each string of it."""
    if isinstance(value, dict):
        for key, item in value.items():
            for where, changed in poisoned(item, poison, (*path, key)):
                yield where, {**value, key: changed}
            if key not in KEYS:
                yield (*path, key, "the key"), {poison if name == key else name: held for name, held in value.items()}
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for where, changed in poisoned(item, poison, (*path, str(index))):
                yield where, [*value[:index], changed, *value[index + 1 :]]
    elif isinstance(value, str):
        yield path, poison


PLAN = json.loads(GOLDEN.read_text())
KEYS: set[str] = set()
"""Names of the format, which no manifest can change."""

MORE = {
    "build": ["bundle install"],
    "builder": "grid-1",
    "errors": [
        {
            "summary": "an error",
            "path": "dynos/web",
            "location": {"file": "dyno.yaml", "line": 3, "column": 1, "text": "dynos:"},
            "hint": "a hint",
            "expected": "something",
        }
    ],
    "unreachable": {"grid-9": "timed out"},
    "notes": ["a note"],
    "release_on": "grid-1",
    "candidates": ["grid-1"],
    "evacuated": ["grid-3"],
    "exposure": {"web": {"before": 1.1, "after": 1.2}},
    "checks": [{"name": "min_healthy/web", "passed": False, "detail": "1 of 4"}],
    "fleet": {
        "grid-1": {
            "address": "10.0.0.11",
            "labels": {"rack": "a"},
            "cores": 4,
            "free": 2.5,
            "router": "nginx",
            "draining": True,
        }
    },
    "running": {
        "number": 6,
        "commit": "5c1e77ab0d21",
        "message": "m",
        "who": "me@here",
        "when": "2026-11-29T00:00:00Z",
    },
    "commit": "9b0c2f44d1aa",
    "source": {
        "commits": ["Say good afternoon"],
        "files": [["A", "app.rb"]],
        "more_commits": 1,
        "more_files": 1,
        "dirty": True,
        "uncommitted": [["M", "lib/cache.rb"]],
        "more_uncommitted": 1,
        "released_dirty": True,
        "untracked": ["app2.rb"],
        "more_untracked": 1,
    },
    "applying": [{"who": "me@here", "when": "2026-11-29T00:00:00Z", "command": "apply"}],
}


def documents(poison: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The golden plan with one field poisoned at a time: those that a manifest, a server or a saved plan fills."""
    whole = {**PLAN, **{key: value for key, value in MORE.items() if key != "applying"}}
    first = {**whole, "changes": whole["changes"][:2]}
    KEYS.update(whole, *(change for change in first["changes"]), "after", "before", "web", *MORE["errors"][0], "passed")
    KEYS.update(MORE["errors"][0]["location"])
    KEYS.update(("fleet", "running", "commit", "source", *MORE["fleet"]["grid-1"], *MORE["running"], *MORE["source"]))
    KEYS.update(("name", "detail", "dyno", "unit", "mode", "state", "variables", "sensitive", "hidden"))
    for path, document in poisoned(first, poison):
        yield "/".join(path), document


def views(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every view of a plan."""
    try:
        plan = plan_document.plan(document)
    except DynoctlError:
        return  # the field has a closed set of values
    headlines: dict[str, tuple[str, ...]] = {}
    yield "text", plan_text.render(plan, headlines, PLAIN, verbose=True)
    yield "restart", restart.render(plan, PLAIN)
    yield "errors", diagnostics.render(plan.errors, color=False)
    yield "JSON", json_text.indented(document)
    yield "markdown", plan_markdown.render(plan, BRIEFS)
    yield "page", plan_html.render(plan, BRIEFS, plan_html.Made("me", "2026", "dyno.yaml", "abc"))


COMMAND = re.compile(r"^\s*::[A-Za-z]|##[\w-]*\[", re.MULTILINE)


@pytest.mark.parametrize("poison", ["::error::x", "\n::error::x", " QQQ ".join(LOG)], ids=["start", "line", "all"])
def test_no_field_of_a_plan_forges_a_line_or_a_command(poison: str) -> None:
    """All views of the plan, with each of its fields in turn."""
    count = 0
    for path, document in documents(f"{poison} QQQ"):
        for view, text in views(document):
            count += 1
            where = f"{view} of {path}"
            assert not COMMAND.search(text), where
            assert all(character in "\n\t" or character.isprintable() or character == "\u200b" for character in text), (
                where
            )
            if view == "page":
                continue
            for line in text.splitlines():
                assert not re.match(r"\W*QQQ|\W*Plan: 99|\W*No changes\. The servers match dyno", line), where
                assert not line.startswith(("Plan: 99", "QQQ")), where
    assert count > 100


@pytest.mark.parametrize("poison", ["@team", "/close", " ".join(MARKDOWN)], ids=["mention", "action", "all"])
def test_no_field_of_a_plan_is_live_in_markdown(poison: str) -> None:
    for path, document in documents(f"{poison} QQQ"):
        try:
            plan = plan_document.plan(document)
        except DynoctlError:
            continue
        text = plan_markdown.render(plan)
        assert not live(text), f"{path}: {live(text)}"


@pytest.mark.parametrize("poison", [*LOG, *MARKDOWN])
@pytest.mark.parametrize("field", ["build", "notes", "release_on"])
def test_a_text_of_a_manifest_is_inert(field: str, poison: str) -> None:
    value: Any = poison if field == "release_on" else [poison, f"a{poison}"]
    plan = plan_document.plan({**PLAN, **MORE, "applying": [], field: value})
    markdown, text = plan_markdown.render(plan), plan_text.render(plan, {}, PLAIN)
    assert not live(markdown) and not COMMAND.search(markdown + text)
    clean = plan_text.render(
        plan_document.plan({**PLAN, **MORE, "applying": [], field: "x" if field == "release_on" else ["x", "x"]}),
        {},
        PLAIN,
    )
    assert text.count("\n") == clean.count("\n")


def live(text: str) -> list[str]:
    """What a forge makes of the text outside of code: mentions, references, links, HTML and images."""
    text = re.sub(r"^(`{3,})diff\n.*?\n\1$", "CODE", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"(?<!\\)`[^`\n]*`", "CODE", text)
    ours = ("<details>", "</details>", "<summary>", "</summary>", "<b>", "</b>")
    found = re.findall(r"(?<!\\)<[^>\n]*>?", text)
    shown = html.unescape(re.sub(r"\\([\\`*_\[\]<>|#~$])", r"\1", text))
    return [
        *(tag for tag in found if tag not in ours),
        *re.findall(r"@\w+", shown),
        *re.findall(r"[#!%~&$][\w\"']+", re.sub(r"\[![A-Z]+\]", "", shown)),
        *re.findall(r"\w+://|\bwww\.|mailto:|GH-\d", shown),
        *re.findall(r"(?<!\\)\]\(", text),
        *re.findall(r"^/\w+", shown, re.MULTILINE),
        *re.findall(r"(?<!\\)\$", text),
    ]


@pytest.mark.parametrize("poison", LOG)
@pytest.mark.parametrize("field", ["summary", "path", "expected", "hint", "file", "text"])
def test_no_field_of_an_error_forges_a_line(field: str, poison: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"summary": "s", "path": "p", "expected": "e", "hint": "h", "file": "f", "text": "t"} | {field: poison}
    location = Location(values["file"], 1, 1, values["text"])
    problem = Diagnostic(values["summary"], values["path"], location, values["expected"], values["hint"])
    fail.report(ManifestInvalid([problem]))
    said = capsys.readouterr().err
    assert len(said.splitlines()) <= 6 and not COMMAND.search(said)
    assert all(character in "\n" or character.isprintable() for character in said)


@pytest.mark.parametrize("poison", LOG)
def test_no_error_forges_a_line(poison: str, capsys: pytest.CaptureFixture[str]) -> None:
    fail.report(DynoctlError(f"cannot read {poison}", f"see {poison}"))
    fail.report(ValueError(poison))
    said = capsys.readouterr().err
    assert not COMMAND.search(said)
    assert all(character in "\n\t" or character.isprintable() for character in said)
    assert all(line.startswith(("error: ", "hint: ", "  ")) or not line for line in said.splitlines())


@pytest.mark.parametrize("poison", LOG)
@pytest.mark.parametrize("kind", ["done", "failed", "note"])
def test_no_event_forges_a_line(kind: str, poison: str, capsys: pytest.CaptureFixture[str]) -> None:
    PlainProgress(Stages(verbose=True))(Event(kind, "grid-1", "web.1", f"build shop locally: {poison}"))
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and not COMMAND.search(said) and said.rstrip("\n").isprintable()


@pytest.mark.parametrize("poison", LOG)
def test_no_output_of_a_release_command_forges_a_line(poison: str) -> None:
    text = report_text.render(Report(release_output=f"a{poison}"), 1.0, "Apply", PLAIN)
    assert not COMMAND.search(text)


@pytest.mark.parametrize("text", ["Rack::Deflater", "::App", "a :: b", "# a", "## heading", "C# [x]", "a\tb"])
def test_what_is_no_command_is_shown_as_it_is(text: str) -> None:
    assert printable(f"app {text}") == f"app {text}"
    assert one_line("a\nb") == "a\\nb"


def test_a_saved_plan_shows_the_options_of_its_author(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In every view, as a reviewer may read any of them."""
    document = json.loads((Path(__file__).parents[1] / "golden/plan-1.json").read_text())
    request = Request(
        selection=Selection(("web.1",), ("grid-2", "x\x1b[2J"), ("worker.*",)),
        trust=frozenset({"s2"}),
        evacuate=frozenset({"s3"}),
        take_over=True,
    )
    words = plan_options.words(request, "staging")
    given = "--destination staging --target web.1 --exclude grid-2 --exclude x\\x1b[2J --replace worker.* "
    given += "--evacuate s3 --trust s2 --take-over --with-changes"
    page = tmp_path / "page.html"
    for options in ((), words):
        made = plan_file.Saved(
            Path("/x/dyno.yaml"), "ann@laptop", "2026-01-01T00:00:00Z", {}, {**document, "options": list(options)}
        )
        monkeypatch.setattr(plan_file, "read", lambda _, saved=made: saved)
        output = CliRunner().invoke(app, ["show", "plan", "--html", str(page)]).output
        assert "To apply exactly this plan" in output
        shown = html.unescape(page.read_text())
        markdown = (
            CliRunner().invoke(app, ["show", "plan", "--markdown"]).output.replace("\\\\", "\\").replace("\\*", "*")
        )
        for text in (output, shown, markdown):
            assert ("The plan was made with" in text) == bool(options)
            assert given in text.replace("\\[", "[") or not options
        assert json.loads(CliRunner().invoke(app, ["show", "plan", "--json"]).output)["options"] == list(options)
    assert plan_options.words(Request(), None) == ()
