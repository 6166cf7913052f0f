"""Plans as JSON, Markdown and files, without secrets."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import schemas
from infra import __version__
from infra.engine import plan_file
from infra.engine.code_digest import code_digest
from infra.errors import Diagnostic, DynoctlError, Unreachable
from infra.fleet import logins
from infra.model import release
from infra.model.formation import Formation
from infra.model.ranges import ranges
from infra.model.release import Hold
from infra.model.resource import Action, Attributes, Change, Fingerprint, Resource
from infra.model.source_change import FileDiff, SourceChange, SourceDiff
from infra.plan.plan import Plan
from infra.registry import Everything
from infra.sensitive import Sensitive
from infra.views import (
    alike_errors,
    drift,
    json_text,
    plan_document,
    plan_html,
    plan_json,
    plan_markdown,
    plan_screen,
    plan_text,
    source_diff,
)
from infra.views.style import Style

SECRET = "hunter2-hunter2"
HEADLINES = Everything().headlines()
BRIEFS = Everything().briefs()
CODE = code_digest()


def change(
    action: Action, kind: str, dyno: str, server: str, before: Attributes | None, after: Attributes | None, **more: Any
) -> Change:
    resource = Resource(server, kind, f"shop-{dyno}", after or before or {}, dyno)
    return Change(resource, Action(action), before, after, **more)


def sample(servers: int = 2) -> Plan:
    hidden = Fingerprint("salt", "digest", str)
    changes = []
    for number in range(1, servers + 1):
        server, dyno = f"grid-{number}", f"web.{number}"
        old = {"mode": "0600", "variables": {"KEEP": Fingerprint("s", release_digest("s", "same"), str), "KEY": hidden}}
        new = {"mode": "0600", "variables": {"KEEP": "same", "KEY": Sensitive(SECRET), "NEW": "a `b` </details> | c"}}
        changes.append(change("update", "env_file", dyno, server, old, new))
        unit = {"unit": {"Service.ExecStart": "thin"}, "state": "running"}
        changes.append(change("restart", "unit", dyno, server, unit, unit, reason="env_file changes", effect="restart"))
    changes.append(change("create", "user", "web.9", "grid-1", None, {"login": "dyno-shop-web-9", "groups": ()}))
    drifted = change("update", "socket", "web.1", "grid-1", {"state": "stopped"}, {"state": "listening"}, drift=True)
    dynos = {f"web.{number}": f"grid-{number}" for number in range(1, servers + 1)}
    return Plan(
        app="shop",
        changes=(*changes, drifted),
        formation=Formation((), {**dynos, "web.9": "grid-1"}, dynos),
        batches=tuple((dyno,) for dyno in dynos),
        unreachable={"grid-0": Unreachable("grid-0: no route | to <host>")},
        leaving=(),
        errors=(Diagnostic("the *disk* is full", hint="make room"),),
        notes=("something `odd`",),
        fingerprint=lambda: "f" * 64,
        candidates=("grid-1",),
        release=release.new(7, "cafe", "{}", manifest="m"),
        fresh=True,
    )


def release_digest(salt: str, text: str) -> str:
    from infra.model.resource import fingerprint

    return fingerprint(salt, text)


def test_a_plan_is_parsed_as_it_was_written() -> None:
    plan = sample()
    text = json.dumps(plan_json.document(plan, {"connections": 3, "execs": 6}))
    assert SECRET not in text
    back = plan_document.plan(json.loads(text))
    for verbose in (False, True):
        shown = plan_text.render(back, HEADLINES, Style(False), verbose=verbose)
        assert shown == plan_text.render(plan, HEADLINES, Style(False), verbose=verbose)
    assert plan_markdown.render(back, BRIEFS) == plan_markdown.render(plan, BRIEFS)
    assert "KEEP" not in plan_markdown.render(back, BRIEFS), "unchanged attributes are not shown"
    with pytest.raises(DynoctlError, match="invalid plan file"):
        plan_document.plan({"app": "shop"})


def test_a_secret_that_changes_is_a_change_in_a_saved_plan_too() -> None:
    old = {
        "variables": {
            "KEY": Fingerprint("s", "digest", str, secret=True),
            "WORD": Fingerprint("s", "digest", str, known="one"),
            "GONE": Fingerprint("s", "digest", str, secret=True),
        }
    }
    new = {"variables": {"KEY": Sensitive(SECRET), "WORD": "two"}}
    plan = replace(sample(), changes=(change("update", "env_file", "web.1", "grid-1", old, new),))
    back = plan_document.plan(json.loads(json.dumps(plan_json.document(plan, {"connections": 3, "execs": 6}))))
    shown = plan_text.render(back, HEADLINES, Style(False), verbose=True)
    assert shown == plan_text.render(plan, HEADLINES, Style(False), verbose=True)
    assert all(f"variables.{name}" in shown for name in ("KEY", "WORD", "GONE"))


def test_markdown_for_a_pull_request() -> None:
    text = plan_markdown.render(sample(), BRIEFS)
    assert text.startswith("### dynoctl plan: `shop`\n\n**1 to add, 5 to change, 0 to destroy.** ")
    assert "| 1 | web.1 | 2 of 3 web |" in text
    assert "<summary><b>grid-1</b>: 3 to change, 1 to add</summary>" in text
    assert "> Unreachable: grid-0: no route \\| to \\<host\\>" in text
    assert "> the \\*disk\\* is full" in text
    assert "Drift, changed by hand since the last apply: `grid-1/socket.shop-web.1`" in text
    assert "Creates release v7." in text
    assert SECRET not in text and "(sensitive)" in text
    # A value that holds a closing tag or a fence stays inside its block.
    blocks = re.findall(r"^(`{3,})diff\n(.*?)\n\1$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    outside = re.sub(r"^(`{3,})diff\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert outside.count("<details>") == outside.count("</details>") == 2
    for line in "\n".join(body for _, body in blocks).splitlines():
        assert line[0] in "+-! ", line


@pytest.mark.parametrize("limit", [2_000, 5_000, plan_markdown.LIMIT])
def test_markdown_is_cut_between_servers(limit: int) -> None:
    plan = replace(sample(24), unreachable={})
    text = plan_markdown.render(plan, BRIEFS, limit=limit)
    assert len(text) <= limit
    assert text.count("<details>") == text.count("\n</details>\n")
    found = re.search(r"Left out for length: .* \((\d+) of 24 servers\)", text)
    assert (int(found[1]) if found else 0) + text.count("<details>") == 24
    assert (found is None) == (limit == plan_markdown.LIMIT)


@pytest.mark.parametrize("limit", [2_000, 20_000, plan_markdown.LIMIT])
def test_markdown_of_a_large_fleet_that_is_not_alike_is_cut_between_lines(limit: int) -> None:
    values = [{"variables": {"LEVEL": f"{number} {'x' * 60}"}} for number in range(2000)]
    changes = tuple(
        change("update", "env_file", f"web.{number}", f"grid-{number}", {"variables": {"LEVEL": "x"}}, value)
        for number, value in enumerate(values, 1)
    )
    text = plan_markdown.render(replace(installed(30), changes=changes), BRIEFS, limit=limit)
    assert len(text) <= limit and text.count("<details>") == text.count("\n</details>\n") == 1
    assert re.search(r"Left out for length: \d+ more lines\._\n", text)


def test_changes_since_a_plan_was_saved_are_listed() -> None:
    was = {
        "manifest": "1",
        "slug": "a" * 64,
        "environment": {"KEY": "x", "GONE": "y"},
        "layers": {"it": "1"},
        "servers": {"grid-1": "p", "grid-2": "q"},
    }
    assert plan_file.differences(was, was) == []
    now = {
        "manifest": "2",
        "slug": "b" * 64,
        "environment": {"KEY": "z", "NEW": "n"},
        "layers": {"it": "2"},
        "servers": {"grid-1": "o", "grid-3": "r"},
    }
    assert plan_file.differences(was, now) == [
        "the manifest changed",
        "the source changed: slug aaaaaaaaaaaa became bbbbbbbbbbbb",
        "the value of KEY changed",
        "the value of GONE was removed",
        "the value of NEW is new",
        "grid-1 changed",
        "grid-2 is unreachable",
        "grid-3 is reachable now",
    ]
    assert plan_file.differences(was, {**was, "layers": {"it": "2"}}) == ["it changed"], "with the source, they follow"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("[]", "not a saved plan"),
        ("{}", "not a saved plan"),
        (
            f'{{"format_version": 1, "bound": {{}}, "dynoctl": "9.9", "code": "{"ab" * 32}"}}',
            f"it was saved by dynoctl 9.9 (code abababababab), and this is dynoctl {__version__} (code {CODE[:12]})",
        ),
        # The same version, but from before a digest was saved; and another format, which the same code does not write.
        (f'{{"format_version": 1, "bound": {{}}, "dynoctl": "{__version__}"}}', "it was saved by dynoctl"),
        (f'{{"format_version": 2, "bound": {{}}, "code": "{CODE}"}}', "its format_version is not 1"),
        (f'{{"format_version": 1, "code": "{CODE}", "bound": {{}}}}', "invalid plan file"),
        (f'{{"format_version": 1, "code": "{CODE}", "bound": 1, "plan": {{}}}}', "invalid plan file"),
        ("[" * 100_000, "not a saved plan"),
    ],
)
def test_an_invalid_plan_file(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "plan"
    file.write_text(text)
    with pytest.raises(DynoctlError, match=re.escape(says)):
        plan_file.read(file)
    with pytest.raises(DynoctlError, match="not found"):
        plan_file.read(tmp_path / "none")


def test_logins_from_a_journal() -> None:
    # Newest first: so journalctl prints what it searches with --grep and --lines.
    journal = """\
2026-11-23T15:00:04+0000 grid-1 sshd[15]: Failed password for eve from 10.0.0.3 port 3 ssh2
2026-11-23T15:00:03+0000 grid-1 sshd[14]: Accepted publickey for root from 10.0.0.1 port 3 ssh2
2026-11-23T15:00:02+0000 grid-1 sshd-session[13]: Accepted password for bob from 10.0.0.2 port 2 ssh2
2026-11-23T15:00:01+0000 grid-1 sshd[12]: Accepted publickey for root from 10.0.0.1 port 1 ssh2: ED25519 SHA256:x
"""
    found = logins.parse(journal)
    assert [(one.who, one.where, one.times, one.last[11:19]) for one in found] == [
        ("root", "10.0.0.1", 2, "15:00:03"),
        ("bob", "10.0.0.2", 1, "15:00:02"),
    ]
    assert logins.parse("") == []


def test_only_drift_is_shown_as_drift() -> None:
    plan = sample()
    text = drift.render(plan, {"grid-1": [], "grid-2": logins.parse("")}, "2026", Style(False))
    assert "socket.shop-web.1" in text and "env_file" not in text and "Unreachable: grid-0" in text
    document = json.dumps(drift.document(plan, {}, ""))
    assert SECRET not in document and document.count('"address"') == 1


def test_drift_says_when_and_the_command_that_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    who = {"grid-1": [logins.Login("root", "10.0.0.1", 2, "2026-11-23T15:00:03+0000")]}
    plan = replace(sample(), unreachable={})
    text = drift.render(plan, who, "2026-11-23T14:00:00Z", Style(False))
    assert "(2026-11-23 14:00 UTC): root from 10.0.0.1, 2 times, last 2026-11-23 15:00 UTC." in text
    assert text.endswith("To restore what dyno.yaml says: dynoctl apply")
    held = replace(plan, held=Hold(5, 3, 4, "me@here", "2026-11-23T14:00:00Z"))
    text = drift.render(held, who, "2026-11-23T14:00:00Z", Style(False))
    assert text.endswith("To restore v5, a rollback that is held: dynoctl rollback v3")
    never = drift.render(replace(plan, changes=()), {}, "", Style(False))
    assert never == "No drift. Nothing of shop is applied yet. To apply it: dynoctl apply"


def test_the_json_is_valid_by_its_schema() -> None:
    validator = Draft202012Validator(schemas.load("plan.schema.json"))
    Draft202012Validator.check_schema(validator.schema)
    document = json.loads(json.dumps(plan_json.document(sample(), {"connections": 1, "execs": 1})))
    document["diff"] = source_diff.document(SourceDiff((FileDiff("M", "app.rb", "@@"),), origin="grid-1"))
    assert list(validator.iter_errors(document)) == []
    assert set(document) == set(validator.schema["properties"]), "every key is described"
    assert not validator.is_valid(document | {"format_version": 2})
    assert not validator.is_valid({key: value for key, value in document.items() if key != "batches"})


def test_version_1_of_the_json_is_stable() -> None:
    """The JSON of the first version, which existing readers depend on. Never edit the golden file."""
    golden = Path(__file__).parents[1] / "golden/plan-1.json"
    document = json.loads(golden.read_text())
    assert Draft202012Validator(schemas.load("plan.schema.json")).is_valid(document)
    plan = plan_document.plan(document)
    assert [one.address for one in plan.changes][:2] == ["grid-1/env_file.shop-web.1", "grid-1/unit.shop-web.1"]
    now = plan_json.document(sample(), {"connections": 1, "execs": 1})
    assert document.keys() <= now.keys()
    assert document["changes"][0].keys() <= now["changes"][0].keys()  # type: ignore[index]


def test_hundreds_of_errors_and_dynos_fit_as_well() -> None:
    plan = sample(3)
    many = tuple(f"web.{number}" for number in range(1, 3000))
    plan = replace(
        plan,
        errors=tuple(Diagnostic("x" * 400) for _ in range(400)),
        batches=(many,),
        formation=Formation((), dict.fromkeys(many, "grid-1"), {}),
    )
    text = plan_markdown.render(plan, BRIEFS)
    assert len(text) <= plan_markdown.LIMIT and "Left out for length" in text
    assert text.count("<details>") == text.count("\n</details>\n") == 3, "and the changes are still there"


def test_text_from_a_server_is_escaped() -> None:
    evil = "grid\x1b]0;owned\x07\x1b[2J"
    resource = Resource(evil, "unit", f"shop-{evil}", {evil: evil}, "web.1")
    plan = replace(
        sample(),
        changes=(Change(resource, Action.CREATE, None, {evil: evil}, evil),),
        notes=(evil,),
        candidates=(evil,),
    )
    for color in (False, True):
        text = plan_text.render(plan, {}, Style(color), verbose=True)
        assert "\x1b]" not in text and "\x07" not in text and "\x1b[2J" not in text
        assert ("\x1b[1m" in text) is color
    assert "\x1b" not in plan_markdown.render(plan)


def test_a_damaged_plan_is_an_error() -> None:
    document = json.loads(json.dumps(plan_json.document(sample(), {"connections": 3, "execs": 6})))
    for key, value in (("changes", [{}]), ("placement", []), ("batches", 1), ("exposure", {"web": 1}), ("errors", "x")):
        with pytest.raises(DynoctlError, match="invalid plan file"):
            plan_document.plan({**document, key: value})


def test_plans_are_written_to_files_alone(tmp_path: Path) -> None:
    for path in (Path(), tmp_path, tmp_path / "no/plan", tmp_path / ("x" * 300), Path("/dev/null"), Path("/")):
        with pytest.raises(DynoctlError, match="cannot write the plan"):
            plan_file.refuse_unwritable(path)
    (tmp_path / "there").write_text("")
    plan_file.refuse_unwritable(tmp_path / "there")
    plan_file.refuse_unwritable(tmp_path / "new")


def test_a_failing_listener_stops_nothing() -> None:
    from infra.model.events import Event, steady

    def gone(_: Event) -> None:
        raise BrokenPipeError

    steady(gone)(Event("note"))


def released(dynos: int = 8, servers: int = 4) -> Plan:
    """A new release of ``dynos`` dynos, most of them web, on ``servers`` servers."""
    names = [*(f"web.{number}" for number in range(1, dynos)), "worker.1"]
    homes = {dyno: f"grid-{index % servers + 1}" for index, dyno in enumerate(names)}
    changes = []
    for dyno, server in homes.items():
        old: Attributes = {
            "unit": {"Unit.Requires": f"old {dyno}", "Service.MemoryMax": "536870912"},
            "state": "running",
        }
        new: Attributes = {
            "unit": {"Unit.Requires": f"new {dyno}", "Service.MemoryMax": "536870912"},
            "state": "running",
        }
        changes.append(change("update", "unit", dyno, server, old, new, effect="restart"))
    for number in range(1, servers + 1):
        for action, kind in (("create", "slug"), ("create", "mount"), ("delete", "mount")):
            digest = "a" * 12 if action == "create" else "b" * 12
            resource = Resource(f"grid-{number}", kind, f"shop@{digest}", {"digest": digest})
            before, after = (None, resource.attributes) if action == "create" else (resource.attributes, None)
            changes.append(Change(resource, Action(action), before, after))
    return replace(
        sample(),
        changes=tuple(changes),
        formation=Formation((), homes, homes),
        batches=tuple((dyno,) for dyno in homes),
        unreachable={},
        errors=(),
        notes=(),
        running=release.new(6, "beef", "{}", manifest="m"),
        source=SourceChange(("Say good afternoon",), (("M", "app.rb"),)),
    )


def test_a_new_release_fits_fifteen_lines() -> None:
    text = plan_screen.render(released(), BRIEFS, Style(False))
    assert (
        text
        == """\
Plan: 8 to add, 8 to change, 4 to destroy. 8 dynos restart.
Creates release v7 after v6: app.rb; 1 commit: "Say good afternoon".

grid-1  ↻ web.1  ↻ web.5
grid-2  ↻ web.2  ↻ web.6
grid-3  ↻ web.3  ↻ web.7
grid-4  ↻ web.4  ↻ worker.1

~ unit of web.[1-7], worker.1
+ slug aaaaaaaaaaaa, mount on grid-[1-4]
- 4 mounts  # cleanup: no dyno needs them any more

A candidate must become healthy on grid-1 before any dyno is changed.
8 batches of 1 dyno: web.[1-7], worker.1  # never fewer up than 6 of 7 web, 0 of 1 worker"""
    )
    assert len(text.splitlines()) <= 15


def test_the_waves_of_a_rollout_are_named_in_every_view() -> None:
    plan = replace(released(), waves=(("r1", 5), ("r\x1b2", 3)))
    line = "The dynos restart in waves: r1 (5 batches), r\\x1b2 (3 batches)."
    assert line in plan_screen.render(plan, BRIEFS, Style(False))
    assert line.replace("\\", "\\\\") in plan_markdown.render(plan, BRIEFS)
    document = json.loads(json.dumps(plan_json.document(plan, {"connections": 3, "execs": 6})))
    assert Draft202012Validator(schemas.load("plan.schema.json")).is_valid(document)
    assert plan_document.plan(document).waves == plan.waves


def test_what_was_changed_by_hand_is_never_folded_away() -> None:
    plan = released()
    unit: Attributes = {"unit": {"Unit.Requires": "it", "Service.MemoryMax": "536870912"}}
    hand: Attributes = {"unit": {"Unit.Requires": "evil", "Service.MemoryMax": "1073741824"}}
    names = ("unit.Unit.Requires", "unit.Service.MemoryMax")
    drifted = change("update", "unit", "web.2", "grid-2", hand, unit, drift=True, drifted=names, effect="restart")
    gone = change(
        "create", "socket", "web.3", "grid-3", None, {"state": "listening"}, drift=True, reason="it was removed"
    )
    text = plan_screen.render(replace(plan, changes=(*plan.changes, drifted, gone)), BRIEFS, Style(False))
    assert '~ unit.Unit.Requires: "evil" -> "it"  # by hand: "it" -> "evil"\n' in text
    assert "~ unit.Service.MemoryMax: 1 GiB -> 512 MiB  # by hand: 512 MiB -> 1 GiB\n" in text
    assert "~ unit of web.2  # drift: \n" in text and "+ socket of web.3  # drift: it was removed\n" in text


def test_dynos_that_leave_a_server_for_the_same_one_are_one_line() -> None:
    names = ("web.2", "web.7", "worker.1")
    gone = [
        change(
            "delete", "unit", name, "grid-3", {"unit": {}}, None, reason=f"{name} moves to grid-{5 + (name[1] == 'o')}"
        )
        for name in names
    ]
    text = plan_screen.render(replace(released(), changes=tuple(gone)), BRIEFS, Style(False))
    assert "- unit of web.[2,7]  # moves to grid-5" in text and "- unit of worker.1  # moves to grid-6" in text


def test_a_large_fleet_is_folded_and_small_differences_are_not() -> None:
    plan = released(4000, 1000)
    text = plan_screen.render(plan, BRIEFS, Style(False))
    assert "↻ 4 web  on 999 servers: grid-[1-999]  # 2 to add, 4 to change, 1 to destroy on each\n" in text
    assert "↻ 3 web  ↻ 1 worker  on 1 server: grid-1000  # 2 to add, 4 to change, 1 to destroy\n" in text
    assert len(text) < 1_000
    values: list[Attributes] = [{"variables": {"LEVEL": level}} for level in ("info", "debug", "debug")]
    changes = tuple(
        change("update", "env_file", f"web.{number}", "grid-1", {"variables": {"LEVEL": "x"}}, value)
        for number, value in enumerate(values, 1)
    )
    text = plan_screen.render(replace(released(), changes=changes), BRIEFS, Style(False))
    assert '~ env_file of web.1\n    ~ variables.LEVEL: "x" -> "info"\n' in text
    assert '~ env_file of web.[2-3]\n    ~ variables.LEVEL: "x" -> "debug"\n' in text


def test_restarts_for_the_same_reason_are_one_line() -> None:
    unit: Attributes = {"state": "running"}
    changes = tuple(
        change("restart", "unit", dyno, "grid-1", unit, unit, reason=f"env_file.shop-{dyno} changes", effect="restart")
        for dyno in ("web.1", "web.2", "web.3")
    )
    text = plan_screen.render(replace(released(), changes=changes), BRIEFS, Style(False))
    assert "\n↻ unit of web.[1-3]  # env_file changes\n" in text


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, ": the files of the app changed; to see how: dynoctl plan --diff"),
        (SourceChange(), ": nothing that git tracks; to see what: dynoctl plan --diff."),
        (SourceChange(dirty=True, uncommitted=(("M", "app.rb"),)), ": uncommitted changes in app.rb."),
        (
            SourceChange(("Say hey",), (("M", "app.rb"),), dirty=True, released_dirty=True),
            ': app.rb; 1 commit: "Say hey"; v6 had uncommitted changes.',
        ),
        (
            SourceChange(dirty=True, uncommitted=(("A", "f"),) * 9, more_uncommitted=2, released_dirty=True),
            ": uncommitted changes in + f, + f, + f, + f, + f, + f, 5 more; v6 had uncommitted changes.",
        ),
        (
            SourceChange(dirty=True, untracked=("app2.rb",)),
            ": in the release, but not tracked by git: + app2.rb.",
        ),
        (
            SourceChange(dirty=True, uncommitted=(("M", "a.rb"),), untracked=("f",) * 8, more_untracked=2),
            ": uncommitted changes in a.rb; in the release, but not tracked by git: + f, + f, + f, + f, + f, + f, 4 more.",
        ),
        (
            SourceChange(files=(("D", "a.rb"), ("A", "b.rb")), dirty=True),
            ": - a.rb, + b.rb; not all of it is committed.",
        ),
        (
            SourceChange(("x",) * 5, (("M", "f"),) * 9, 2, 3),
            ': f, f, f, f, f, f, 6 more; 7 commits: "x", "x", "x", 4 more.',
        ),
    ],
)
def test_what_changed_in_the_source(source: SourceChange | None, says: str) -> None:
    text = plan_screen.render(replace(released(), source=source), BRIEFS, Style(False))
    assert text.splitlines()[1] == f"Creates release v7 after v6{says}"


def test_a_release_with_the_same_files() -> None:
    plan = released()
    assert plan.release is not None and plan.running is not None
    same = replace(plan, source=None, running=replace(plan.running, slug=plan.release.slug))
    assert plan_screen.render(same, BRIEFS, Style(False)).splitlines()[1] == "Creates release v7 after v6."


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], ""),
        (["a"], "a"),
        (["web.1"], "web.1"),
        (["web.2", "web.1", "web.3", "web.7", "worker.1"], "web.[1-3,7], worker.1"),
        (["grid-01", "grid-02", "grid-3"], "grid-0[1-2], grid-3"),
        (["1", "2"], "[1-2]"),
        (["db", "db1", "db"], "db, db1"),
    ],
)
def test_ranges(names: list[str], says: str) -> None:
    assert ranges(names) == says


def installed(servers: int) -> Plan:
    """The first release of an app on many servers that are alike, with four dynos on each."""
    changes = []
    homes = {}
    for number in range(1, servers + 1):
        server = f"grid-{number}"
        for kind in ("slug", "mount", "rackup"):
            resource = Resource(server, kind, f"shop@{'a' * 12}", {"digest": "a" * 12})
            changes.append(Change(resource, Action.CREATE, None, resource.attributes))
        for dyno in (f"web.{4 * number - 3 + place}" for place in range(4)):
            homes[dyno] = server
            for kind in ("user", "env_file", "unit", "socket"):
                attributes: Attributes = {"name": f"dyno-{dyno}", "variables": {"PORT": str(5000 + number), "A": "b"}}
                effect = "start" if kind == "unit" else None
                changes.append(change("create", kind, dyno, server, None, attributes, effect=effect))
    return replace(
        sample(),
        changes=tuple(changes),
        formation=Formation((), homes, {}),
        batches=(),
        unreachable={},
        errors=(),
        notes=(),
        candidates=tuple(f"grid-{number}" for number in range(1, servers + 1)),
    )


SCREEN = 30
"""Lines of a terminal that is not large."""


def test_the_first_plan_of_a_thousand_servers_fits_a_screen() -> None:
    plan = installed(1000)
    text = plan_screen.render(plan, BRIEFS, Style(False))
    assert "+ 4 web  on 1000 servers: grid-[1-1000]  # 19 to add on each\n" in text
    assert len(text.splitlines()) <= SCREEN and max(map(len, text.splitlines())) < 250
    markdown = plan_markdown.render(plan, BRIEFS)
    assert markdown.startswith("### dynoctl plan: `shop`\n\n**19000 to add, 0 to change, 0 to destroy.** ")
    assert "| 1000: grid-\\[1-1000\\] | + 4 web | 19 to add |" in markdown
    assert "<summary><b>19000 changes on 1000 servers</b>, alike ones together</summary>" in markdown
    assert len(markdown.splitlines()) <= SCREEN and len(markdown) < 3_000
    unfolded = plan_text.render(plan, HEADLINES, Style(False), verbose=True)
    assert all(f"+ grid-{number}/unit.shop-web.{4 * number}" in unfolded for number in (1, 500, 1000))


def test_the_next_release_of_a_thousand_servers_fits_a_screen() -> None:
    plan = replace(released(4000, 1000), candidates=tuple(f"grid-{number}" for number in range(1, 1001)))
    text = plan_screen.render(plan, BRIEFS, Style(False))
    markdown = plan_markdown.render(plan, BRIEFS)
    assert "4000 batches of 1 dyno" in text and "- 4000 batches of 1 dyno" in markdown
    assert len(text.splitlines()) <= SCREEN and len(markdown.splitlines()) <= SCREEN


def test_names_without_an_order_are_cut_and_counted() -> None:
    plan = installed(300)
    names = {f"grid-{number}": f"{'abcdef'[number % 6]}{number * 7919 % 1009}.example.org" for number in range(1, 301)}

    def renamed(one: Change) -> Change:
        return replace(one, resource=replace(one.resource, server=names[one.resource.server]))

    homes = {dyno: names[home] for dyno, home in plan.formation.homes.items()}
    plan = replace(plan, changes=tuple(map(renamed, plan.changes)), formation=Formation((), homes, {}))
    text = plan_screen.render(plan, BRIEFS, Style(False))
    assert "(300 servers)" in text and len(text.splitlines()) <= SCREEN
    assert max(map(len, text.splitlines())) < 300
    assert len(plan_markdown.render(plan, BRIEFS)) < 5_000


def test_a_few_servers_that_differ_are_not_hidden_among_a_thousand() -> None:
    plan = installed(1000)
    hand = change("update", "socket", "web.9", "grid-3", {"state": "stopped"}, {"state": "listening"}, drift=True)
    more = change("create", "unit", "web.5000", "grid-7", None, {"name": "x"}, effect="start")
    plan = replace(plan, changes=(*plan.changes, hand, more))
    for text in (plan_screen.render(plan, BRIEFS, Style(False)), plan_markdown.render(plan, BRIEFS)):
        assert "drift" in text and "web.9" in text and "grid-3" in text and "grid-7" in text
    assert "on 998 servers: grid-[1-2,4-6,8-1000]  # 19 to add on each" in plan_screen.render(
        plan, BRIEFS, Style(False)
    )


def test_servers_that_are_unreachable_alike_are_one_line() -> None:
    down = {
        f"grid-{number}": Unreachable(
            f"cannot connect to grid-{number} (10.0.0.{number}:22): timed out after 10 s", f"ping grid-{number}"
        )
        for number in range(1, 201)
    }
    refused = {"grid-201": Unreachable("cannot connect to grid-201 (10.0.0.201:22): connection refused")}
    plan = replace(installed(250), unreachable={**down, **refused})
    text = plan_screen.render(plan, BRIEFS, Style(False))
    assert "Unreachable: cannot connect to grid-[1-200]: timed out after 10 s\n  hint: ping SERVER\n" in text
    assert "  web.[1-800] stay on 200 servers, unchanged.\n" in text
    assert "Unreachable: cannot connect to grid-201 (10.0.0.201:22): connection refused\n" in text
    assert "> Unreachable: cannot connect to grid-\\[1-200\\]: timed out" in plan_markdown.render(plan, BRIEFS)
    verbose = plan_text.render(plan, HEADLINES, Style(False), verbose=True)
    assert "cannot connect to grid-7 (10.0.0.7:22): timed out" in verbose and verbose.count("Unreachable: ") == 201


def test_the_servers_of_a_worker_that_is_gone_are_one_line() -> None:
    """Its hint names the first of them."""
    hint = "it had 100 servers (grid-1, grid-2, grid-3 and 97 more); run the command again"
    lost = {f"grid-{number}": Unreachable(f"grid-{number}: connection lost: why", hint) for number in range(1, 101)}
    text = plan_screen.render(replace(installed(150), unreachable=lost), BRIEFS, Style(False))
    assert f"Unreachable: grid-[1-100]: connection lost: why\n  hint: {hint}\n" in text
    assert text.count("Unreachable: ") == 1


def test_an_ssh_config_that_is_wrong_for_all_servers_is_one_line() -> None:
    """The hints have their hosts."""
    why = "ssh_config: /home/me/.ssh/config: line 3: Bad configuration option: prot"
    wrong = {
        f"grid-{number}": Unreachable(
            f"cannot connect to grid-{number} (10.0.0.{number}): {why} for 10.0.0.{number}",
            f"correct it, and check: ssh -G 10.0.0.{number}",
        )
        for number in range(1, 101)
    }
    down = {
        f"ipv6-{number}": Unreachable(
            f"cannot connect to ipv6-{number} ([2001:db8::{number}]:22): refused", f"ssh -v 2001:db8::{number}"
        )
        for number in range(1, 9)
    }
    down |= {
        f"bare-{number}": Unreachable(
            f"cannot connect to bare-{number} (2001:db8::{number}): no", f"2001:db8::{number}"
        )
        for number in range(1, 9)
    }
    text = plan_screen.render(replace(installed(150), unreachable={**wrong, **down}), BRIEFS, Style(False))
    assert f"Unreachable: cannot connect to grid-[1-100]: {why} for HOST\n" in text
    assert "  hint: correct it, and check: ssh -G HOST\n" in text
    assert "Unreachable: cannot connect to ipv6-[1-8]: refused\n  hint: ssh -v HOST" in text
    assert "Unreachable: cannot connect to bare-[1-8]: no\n  hint: HOST" in text
    assert text.count("Unreachable: ") == 3


def test_errors_that_many_servers_have_are_one() -> None:
    plan = installed(200)
    missing = tuple(
        Diagnostic(f"grid-{number}: no MRI Ruby found at /usr/bin/ruby", "ruby", hint="apt-get install ruby")
        for number in range(1, 101)
    )
    twins = tuple(
        Diagnostic(f"grid-{number} and grid-1 are the same machine", hint=f"remove grid-{number} or grid-1")
        for number in range(2, 9)
    )
    few = tuple(Diagnostic(f"grid-{number}/unit.x cannot be created: {number % 2}") for number in range(1, 9))
    other = tuple(Diagnostic(f"web.{number}: wrong") for number in range(20))
    plan = replace(plan, errors=(few[0], *missing, *twins, *few[1:], *other))
    errors = alike_errors.folded(plan)
    assert [error.summary for error in errors] == [
        few[0].summary,
        "grid-[1-100]: no MRI Ruby found at /usr/bin/ruby",
        "grid-[2-8] and grid-1 are the same machine",
        *(error.summary for error in (*few[1:], *other)),
    ]
    assert (errors[1].path, errors[1].hint) == ("ruby", "apt-get install ruby")
    assert errors[2].hint == "remove SERVER or grid-1"
    markdown = plan_markdown.render(plan, BRIEFS)
    assert markdown.count("> [!CAUTION]") == len(errors) and "> grid-\\[1-100\\]: no MRI Ruby" in markdown
    html = plan_html.render(plan, BRIEFS, plan_html.Made("me", "2026-01-01T00:00:00Z", "dyno.yaml", "0" * 64))
    assert "grid-[1-100]: no MRI Ruby" in html and "grid-7: no MRI Ruby" not in html
    assert len(plan_json.document(plan, {})["errors"]) == len(plan.errors)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [0, 1, 300])
def test_a_plan_is_written_in_parts_as_it_would_be_as_a_whole(changes: int) -> None:
    plan = replace(sample(200), unreachable={})
    plan = replace(plan, changes=plan.changes[:changes], notes=("##[group]x",))
    trips = {"connections": 3, "execs": 6}
    whole = {**plan_json.document(plan, trips), "diff": {"changes": []}}
    parts = list(plan_json.chunks(plan, trips, {"diff": {"changes": []}}))
    assert "".join(parts) == json_text.indented(whole)
    assert changes < 300 or len(parts) > 2
    line = "".join(plan_json.line_chunks({"type": "plan"}, plan, trips))
    assert line == json_text.inert(json.dumps({"type": "plan", "plan": plan_json.document(plan, trips)}))


def test_a_plan_as_json_takes_no_more_memory_than_the_plan() -> None:
    plan = installed(60)

    def peak(work: Callable[[], object]) -> int:
        tracemalloc.start()
        work()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    trips = {"connections": 60, "execs": 60}
    whole = peak(lambda: json_text.indented(plan_json.document(plan, trips)))
    parts = peak(lambda: [len(part) for part in plan_json.chunks(plan, trips)])
    assert parts < whole / 5


def test_an_exposure_that_stays_is_said_once() -> None:
    plan = replace(released(), exposure={"web": (1.1, 1.1), "worker": (1.1, 2.0), "mail": (None, 3.0)})
    lines = [line for line in plan_screen.render(plan, BRIEFS, Style(False)).splitlines() if "Exposure" in line]
    assert [line.split(" (")[0] for line in lines] == [
        "Exposure of web: 1.1",
        "Exposure of worker: 1.1 -> 2",
        "Exposure of mail: 3",
    ]


def test_a_plan_without_any_server_does_not_speak_of_reachable_ones() -> None:
    plan = replace(sample(), changes=())
    names = [*plan.unreachable]
    assert plan_text.summary(replace(plan, fleet=dict.fromkeys([*names, "grid-9"])), Style(False)) == (
        "No changes on the reachable servers."
    )
    assert plan_text.summary(replace(plan, fleet=dict.fromkeys(names)), Style(False)) == (
        "No changes are known, as no server can be reached."
    )


def test_what_is_cleaned_up_is_not_said_to_have_left_the_manifest() -> None:
    had: Attributes = {"mounted": True}
    gone = Change(Resource("grid-1", "mount", f"shop@{'a' * 12}", had), Action.DELETE, had, None, "not in dyno.yaml")
    plan = replace(sample(), changes=(gone,), unreachable={})
    for text in (
        plan_text.render(plan, HEADLINES, Style(False), verbose=True),
        plan_markdown.render(plan, BRIEFS, verbose=True),
    ):
        assert f"- grid-1/mount.shop@{'a' * 12}" in text and "# no dyno needs it any more" in text
        assert "not in dyno.yaml" not in text
