"""Screens at the widths of terminals: no word is cut, and the first apply of a small fleet fits one screen."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.cli import fail, lab
from infra.cli.init import init
from infra.cli.logs import _nothing
from infra.engine.groups import Group
from infra.errors import Diagnostic, DynoctlError, Location, ManifestInvalid
from infra.fleet import site as sites
from infra.fleet.observe import Observed
from infra.fleet.status import ServerStatus
from infra.manifest import read
from infra.manifest.model import Manifest
from infra.model import release
from infra.model.dyno_status import Row
from infra.model.events import Event, Report
from infra.model.lock_holder import Holder
from infra.model.provider import Scope
from infra.model.resource import Action, Upload
from infra.model.routing import Route
from infra.model.stack import Slug
from infra.ops.finding import Finding
from infra.ops.monitor import Sample
from infra.plan.build import build
from infra.plan.formation import form
from infra.plan.plan import Plan
from infra.registry import Everything
from infra.views import doctor, drift, formation, history, outcome, plan_screen, releases, top
from infra.views import site as site_view
from infra.views.gate import console
from infra.views.progress import LiveProgress
from infra.views.stages import Stages
from infra.views.style import PAINT, Style, text_width
from infra.views.table import padded
from infra.views.wrapping import wrapped
from tests.unit.test_engine import facts

WIDTHS = (80, 120)
PLAIN = Style(False)

MANIFEST = """\
version: 1
app: {name: shop, source: .}
rackup: config.ru
dynos: {web: 7, worker: {count: 1, command: bundle exec rake jobs:work}}
router: {kind: nginx, servers: [grid-1], hosts: [shop.example.org]}
servers:
  - {name: grid-1, host: 10.0.0.11}
  - {name: grid-2, host: 10.0.0.12}
  - {name: grid-3, host: 10.0.0.13}
  - {name: grid-4, host: 10.0.0.14}
"""
SERVERS = ("grid-1", "grid-2", "grid-3", "grid-4")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    (tmp_path / "config.ru").write_text("run nil\n")
    return read(tmp_path / "dyno.yaml")


def first(manifest: Manifest) -> Plan:
    """The plan of the first apply, on servers that have all packages."""
    registry = Everything()
    stack = replace(registry.stack(manifest), packages=())
    found = {
        name: facts(machine_id=f"m{number}", address=f"10.0.0.1{number}") for number, name in enumerate(SERVERS, 1)
    }
    made = form(manifest, found, ())
    slug = Slug("cafe" * 16, lambda session, say, before: Upload("", "", "", 0))
    scope = Scope("shop", "s", environments={type_: {} for type_ in manifest.types}, router="")
    desired = registry.desired(manifest, stack, slug, made, scope, SERVERS)
    observed = {name: Observed(seen, {}) for name, seen in found.items()}
    plan = build("shop", desired, observed, made, registry.providers, {}, manifest=manifest)
    return replace(plan, release=release.new(1, "cafe", "{}", manifest="cd" * 6), fresh=True, candidates=SERVERS)


def row(dyno: str, server: str, **more: Any) -> Row:
    port = 5000 if dyno.startswith("web") else 0
    usual = Row(dyno, server, server.replace("grid-", "10.0.0.1"), port, "up", "ab" * 32, 1, 49, 19 << 20, 0, 7, 250)
    return replace(usual, **{"memory_max": 512 << 20, "cpu_seconds": 1.0, "waiting": 0, **more})


def rows(plan: Plan) -> list[Row]:
    return [row(dyno, home) for dyno, home in plan.formation.homes.items()]


def site(manifest: Manifest, found: Sequence[Row]) -> sites.Site:
    upstreams = {one.dyno: "10.0.0.11:5000" for one in found if one.port}
    route = Route("shop", "nginx", ("shop.example.org",), {80: "plain"}, upstreams)
    return sites.examine(
        manifest,
        {
            name: ServerStatus([one for one in found if one.server == name], (route,) if name == "grid-1" else ())
            for name in SERVERS
        },
        {},
    )


def progress(plan: Plan) -> Iterator[str]:
    """The lines of an apply as its engine tells them."""
    stages = Stages({}, clock=iter(range(1000)).__next__)
    changes = [change for change in plan.changes if change.resource.dyno is None]
    events = [Event("phase", text="lock", total=4), Event("phase", text="prepare", total=len(changes))]
    events += [
        Event("done", change.resource.server, change.resource.key, "made")
        for change in changes
        if change.resource.kind != "router"
    ]
    events += [Event("phase", text="candidate", total=4)]
    events += [Event("done", name, "candidate", "healthy") for name in SERVERS]
    events += [Event("phase", text="start", total=8)]
    events += [Event("done", home, dyno, "started") for dyno, home in plan.formation.homes.items()]
    events += [Event("phase", text="route", total=1), Event("done", "grid-1", "router.shop", "made")]
    for event in events:
        yield from stages.take(event)
    yield from stages.end()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_apply_of_eight_dynos_fits_forty_lines(manifest: Manifest, width: int) -> None:
    plan = first(manifest)
    assert len(plan.formation.homes) == 8 and not plan.errors
    found = rows(plan)
    table = formation.render(manifest, site(manifest, found), PLAIN, width=width).replace("\n\n", "\n")
    last = f"Apply complete in 24.1 s. {outcome.sentence(manifest, plan, Report(), found, ())}"
    screen = wrapped(plan_screen.render(plan, Everything().briefs(), PLAIN), width)
    shown = [screen, *progress(plan), "", table, "", wrapped(last, width)]
    lines = "\n".join(shown).splitlines()
    assert len(lines) <= 40, "\n".join(lines)
    assert max(map(len, lines)) <= width, max(lines, key=len)
    assert lines[-1].endswith("http://shop.example.org")


LONG = "cannot write to /var/lib/dynoctl, which is mounted read-only on this server since its last boot, or damaged"


@pytest.mark.parametrize("width", WIDTHS)
def test_every_screen_fits_its_terminal(manifest: Manifest, width: int) -> None:
    plan = first(manifest)
    crashed = [replace(one, state="crashed") if one.dyno == "web.3" else one for one in rows(plan)]
    seen = site(manifest, crashed)
    findings = [Finding("grid-1", "disk", "failed", LONG, f"check the disk: {LONG}")]
    entry = {
        "when": "2026-11-29T15:00:00Z",
        "who": "somebody@workstation",
        "command": "apply",
        "result": "failed",
        "release": 12,
        "added": 10,
        "changed": 120,
        "destroyed": 3,
        "slug": "ab" * 6,
        "seconds": 123.4,
        "message": "Say good afternoon to everybody",
        "failures": [LONG],
    }
    released = release.new(12, "ab" * 32, "{}", manifest="cd" * 6)
    released = replace(released, when="2026-11-29T15:00:00Z", who="somebody@workstation", message=LONG, commit="ef" * 6)
    samples = [
        Sample(name, None, ServerStatus([one for one in crashed if one.server == name]), None, "") for name in SERVERS
    ]
    screens = {
        "plan": wrapped(plan_screen.render(replace(plan, notes=(LONG,)), Everything().briefs(), PLAIN), width),
        "ps": site_view.above("shop", seen, PLAIN, width) + formation.render(manifest, seen, PLAIN, width=width),
        "doctor": doctor.render(SimpleNamespace(findings=findings, applying=(), failed=1), PLAIN, width),  # type: ignore[arg-type]
        "history": history.table([entry], PLAIN, width),
        "releases": releases.table([released], released, {12: ["grid-1"]}, PLAIN, width=width),
        "top": top.plain(
            manifest, samples, datetime(2026, 11, 29, tzinfo=UTC), console(width=width, color_system=None), width=width
        ),
    }
    assert " 2m 3s" in screens["history"], "as the last line of an apply says it"
    for name, text in screens.items():
        for line in text.splitlines():
            assert len(line) <= width, f"{name}: {line}"
    for name in ("plan", "doctor", "history", "releases"):
        assert " ".join(screens[name].split()).count(LONG) >= 1, f"{name} lost words:\n{screens[name]}"


LOGGED: dict[str, Any] = {
    "when": "2026-11-29T15:00:00Z",
    "who": "somebody@workstation",
    "command": "apply",
    "result": "ok",
    "release": 12,
    "added": 10,
    "changed": 120,
    "destroyed": 3,
    "slug": "ab" * 6,
    "seconds": 123.4,
}


@pytest.mark.parametrize("width", [72, *WIDTHS, None])
@pytest.mark.parametrize("who", ["ann@desk", "somebody@workstation", "deploy@gitlab-runner-project-1234-concurrent-0"])
@pytest.mark.parametrize("message", ["", "Say good afternoon to everybody"])
def test_a_line_of_the_history_keeps_what_matters(width: int | None, who: str, message: str) -> None:
    """TOOK was left out at 80 columns if one line was ``rejected`` and had a message."""
    ends = ("ok", "rejected", "interrupted")
    logged = [{**LOGGED, "who": who, "message": message, "result": result} for result in ends]
    head, *lines = history.table(logged, PLAIN, width).splitlines()
    assert max(map(len, (head, *lines))) <= (width or 1000)
    for name in ("RELEASE", "WHEN", "COMMAND", "RESULT", "TOOK"):
        assert name in head.split(), head
    rows = "\n".join(lines).split("2026-11-29 ")[1:]
    for row, result in zip(rows, ends, strict=True):
        for words in ("apply", result, "v12", "2m 3s"):
            assert words in row.splitlines()[0], row
        assert who in row and message in " ".join(row.split()), row


def test_a_long_command_of_the_history_is_below_its_line() -> None:
    """It would take the room of all other columns, on every line."""
    names = [f"worker.[{number}-{number + 9}]" for number in range(1, 200, 20)]
    logged = [{**LOGGED, "command": "restart", "arguments": names}, {**LOGGED, "arguments": ["--evacuate", "grid-2"]}]
    text = history.table(logged, PLAIN, 120)
    first, second = text.split("2026-11-29 ")[1:]
    assert "  restart  " in first.splitlines()[0]
    assert f"command: restart {' '.join(names)}" in " ".join(first.split())
    assert "  apply --evacuate grid-2  " in second and "command:" not in second


def test_a_line_goes_on_below_what_it_says() -> None:
    style = Style(True)
    row = f"grid-1  {style('green', '+ web.1')}  {style('green', '+ web.5')}  {style('green', '+ web.9')}"
    assert wrapped(row, 24) == (
        f"grid-1  {style('green', '+ web.1')}  {style('green', '+ web.5')}\n        {style('green', '+ web.9')}"
    )
    assert wrapped("日本語  one two three", 16) == "日本語  one two\n        three"
    assert wrapped("  hint: one two three", 14) == "  hint: one\n    two three"
    assert wrapped("x" * 30, 10) == "x" * 30, "a word is never cut"
    assert wrapped(LONG, None) == LONG
    assert wrapped("Formation", 3, 0) == "Formation"


def test_a_command_is_not_broken() -> None:
    """Whoever copies it from a terminal would run the first half of it: ``dynoctl apply``, on all servers."""
    for command in ("dynoctl apply --evacuate grid-17", "ssh-keyscan -p 2222 grid-17 >> known_hosts"):
        text = f"  hint: look at it: dynoctl doctor; if it is gone for good: {command}; or wait, and it may come back"
        for width in range(20, 120):
            lines = wrapped(text, width).splitlines()
            assert [line for line in lines if command in line] and " ".join(map(str.strip, lines)) == text.strip()
            assert all(len(line) <= width or line.strip().startswith(command) for line in lines), (width, lines)
    painted = f"{Style(True)('bold', 'dynoctl apply')} --evacuate grid-17"
    assert wrapped(f"{LONG} to do: {painted}", 60).endswith(f"\n  {painted}")
    assert wrapped("is in git: git  and more words", 16) == "is in git: git\n  and more words", "a column is no command"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> Terminal:
    """What stands in for both streams of a command."""
    shown = Terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def lines_of(shown: Terminal) -> list[str]:
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    return lines


@pytest.mark.parametrize("color", [True, False])
def test_the_time_of_top_fits_or_goes(manifest: Manifest, color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The title of an app that is up without requests was one column too long for it."""
    numbers = "2 of 2 dynos and 1 of 1 router up, no requests in the last minute"
    monkeypatch.setattr(site_view, "headline", lambda *_: ("shop is up", "green", numbers))
    titles = {}
    for width in (60, 80, 120):
        screen = console(width=width, color_system="256" if color else None, force_terminal=True)
        text = top.plain(manifest, [], datetime(2026, 11, 29, 3, 3, 51, tzinfo=UTC), screen, width=width)
        titles[width] = PAINT.sub("", text).partition("\n\n")[0].splitlines()
        assert ("\x1b[32mshop is up\x1b[0m: " in text) == color
    assert titles == {
        60: ["shop is up: 2 of 2 dynos and 1 of 1 router up, no requests", "  in the last minute"],
        80: [f"shop is up: {numbers}"],
        120: [f"shop is up: {numbers}  03:03:51"],
    }


def test_a_long_error_breaks_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    fail.report(DynoctlError(LONG, f"free space, then: dynoctl apply; {LONG}"))
    place = Location("dyno.yaml", 7, 3, "key: " + "x" * 90)
    fail.report(ManifestInvalid([Diagnostic(LONG, "env/A", place, hint=LONG, expected=LONG)]))
    lines = screen.getvalue().splitlines()
    assert [line for line in lines if len(line) > 80] == [f"  7 | {place.text}"], "a line of the file stays as it is"
    assert " ".join(screen.getvalue().split()).count(LONG) == 5


def next_step(screen: Terminal) -> str:
    return " ".join("\n".join(lines_of(screen)).rpartition("\n\n")[2].split())


def test_the_next_steps_after_init_fit_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of the tutorial, and none of the commands is cut in two."""
    monkeypatch.chdir(tmp_path)
    screen = terminal(monkeypatch)
    init(Path("shop"), None, None, None, None)
    steps = "add your servers to dyno.yaml, then: dynoctl doctor, dynoctl plan, dynoctl apply."
    assert next_step(screen).endswith(steps)
    (tmp_path / "config.ru").write_text("run ->(env) { [200, {}, []] }\n")
    (tmp_path / "Gemfile").write_text('source "https://rubygems.org"\ngem "rack"\n')
    init(Path(), None, None, None, None)
    assert "note: Gemfile" in "\n".join(lines_of(screen)), "of a note, too, the servers are what is missing"
    assert next_step(screen).endswith(steps)
    assert wrapped("then: dynoctl doctor, dynoctl plan, dynoctl apply.", 30).splitlines() == [
        "then: dynoctl doctor,",
        "  dynoctl plan, dynoctl apply.",
    ]


def test_what_lab_up_says_fits_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inventory.yaml").write_text("servers: []\n")
    monkeypatch.setattr("infra.lab.needs.check", lambda install: None)
    monkeypatch.setattr("infra.lab.fleet.up", lambda *_: SimpleNamespace(path=tmp_path))
    screen = terminal(monkeypatch)
    lab.up()
    text = screen.getvalue()
    assert "Lab demo is up." in text and all(
        len(line) <= 80 or " " not in line.strip() for line in text.splitlines()
    ), text


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_the_time_limit_of_a_step_is_never_cut(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, columns)
    stages = Stages({"grid-1": [f"package.{name}" for name in range(14)]}, clock=lambda: time.monotonic() - 3)
    with LiveProgress(stages) as view:
        view(Event("phase", text="prepare", total=14))
        for step in ("install ruby", "install " + "ruby-bundler " * 20):
            view(Event("step", "grid-1", "package.ruby", step, seconds=600))
            view.refresh()
        view.interrupted()
    shown = [line for line in re.split(r"[\r\n]|\x1b\[[0-9;]*[A-Za-z]", screen.getvalue()) if "of at most" in line]
    assert shown and all(line.rstrip().endswith("3 s of at most 600 s") for line in shown if "package" in line), shown
    assert any("package.ruby: install ruby: 3 s of at most 600 s" in line for line in shown)
    assert all(len(line) <= columns - 3 for line in shown if "package" in line)
    assert all(len(line) <= columns for line in shown)


def test_no_log_lines_say_why() -> None:
    assert _nothing("shop", ()) == "No log lines: no dyno of shop runs. To start those of dyno.yaml: dynoctl apply"
    assert _nothing("shop", {"web.1"}) == "No log lines to show."


def test_a_dyno_of_which_only_a_file_changes_was_not_made(manifest: Manifest) -> None:
    plan = first(manifest)
    (one, *_) = [change for change in plan.changes if change.resource.dyno == "web.1" and change.effect is None]
    assert Group("grid-1", "web.1", (one,)).verb == "made"
    assert Group("grid-1", "web.1", (replace(one, action=Action.UPDATE, before=one.after),)).verb == "changed"


def test_characters_of_two_columns_count_twice() -> None:
    """And marks on another character not at all, so that columns stay aligned and lines fit."""
    text = wrapped("Creates release v2 after v1: " + "你好 " * 30, 80)
    assert len(text.splitlines()) > 1 and all(text_width(line) <= 80 for line in text.splitlines())
    (one, _), (two, _), (three, _) = padded(
        [["发布新版本", "x"], ["ship it \N{ROCKET}", "x"], ["re\u0301sume\u0301", "x"]]
    )
    assert text_width(one) == text_width(two) == text_width(three) == 10


def test_sentences_and_names_are_readable_on_a_light_background(manifest: Manifest) -> None:
    """Yellow and cyan on white have a contrast of less than 2 in many terminals: they are for marks and states."""
    plan = replace(first(manifest), applying=(Holder("anna@laptop", "2026-11-29T10:22:08Z", "apply"),))
    faint = re.compile(r"\x1b\[3[36]m(.*?)\x1b\[0m")
    text = plan_screen.render(plan, Everything().briefs(), Style(True)) + drift.render(plan, {}, "", Style(True))
    assert not [words for words in faint.findall(text) if len(words) > 1]
    assert "\x1b[32m+\x1b[0m web.1" in text


def test_a_column_of_messages_without_any_takes_no_room() -> None:
    new = release.new(1, "ab" * 32, "{}", manifest="cd" * 6)
    new = replace(new, when="2026-11-29T15:00:00Z", who="me@here", commit="ef" * 6)
    known = [new, replace(new, number=2)]
    text = releases.table(known, known[1], {1: ["grid-1"]}, PLAIN, width=80)
    assert "COMMIT" in text and "MESSAGE" not in text
    assert "MESSAGE" in releases.table([known[0], replace(known[1], message="x")], known[1], {}, PLAIN, width=80)
    entry = {"when": "2026-11-29T15:00:00Z", "who": "me@here", "command": "apply", "result": "ok", "seconds": 1.0}
    for width in (80, None):
        assert "MESSAGE" not in history.table([entry], PLAIN, width)
    assert "MESSAGE" in history.table([{**entry, "message": "x"}], PLAIN, None)


def test_a_release_shows_the_first_digits_of_digests_and_json_has_them_whole() -> None:
    made = replace(release.new(3, "ab" * 32, "{}", manifest="cd" * 32), result="ok", commit="1f3c8a7d0b21-dirty")
    text = releases.details(made, ["KEY"], ["puma"], ["grid-1"])
    assert "  Manifest     cdcdcdcdcdcd\n  Slug         abababababab\n" in text
    assert not re.search(r"[0-9a-f]{13}", text)
    assert releases.as_json(made, ["grid-1"])["slug"] == "ab" * 32
