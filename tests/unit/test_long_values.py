"""Long values in a plan: shortened to what differs, and whole where nothing may be hidden."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from infra.model.resource import Action
from infra.registry import Everything
from infra.views import plan_markdown, plan_screen, plan_text
from infra.views.long_values import LONG, beginning, differing
from infra.views.style import Style
from tests.unit.test_plan_views import HEADLINES, change, released

PROGRAM = "ruby -e " + "loop { ask; look } " * 20
HOSTS = "a.example.org," * 20
PLAIN = Style(False)


def quoted(text: str) -> str:
    return json.dumps(text)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("a", "b", ('"a"', '"b"')),
        (
            f"{PROGRAM}/ http 10.0.0.1",
            f"{PROGRAM}/ http shop.example.org",
            ('"... http 10.0.0.1"', '"... http shop.example.org"'),
        ),
        (f"a {PROGRAM}", f"b {PROGRAM}", ('"a ..."', '"b ..."')),
        (f"{PROGRAM}x a {PROGRAM}", f"{PROGRAM}x b {PROGRAM}", ('"... x a ..."', '"... x b ..."')),
        (f"{PROGRAM}x", f"{PROGRAM}x y", ('"... } x"', '"... } x y"')),
        (f"{PROGRAM}x {PROGRAM}", f"{PROGRAM}x y {PROGRAM}", ('"... x ..."', '"... x y ..."')),
        (
            f"{HOSTS}b.example.org",
            f"{HOSTS}b.example.org,evil.example.net",
            (
                '"... le.org,b.example.org" (shortened; see --verbose)',
                '"... le.org,b.example.org,evil.example.net" (shortened; see --verbose)',
            ),
        ),
        (
            f"x {HOSTS}1{HOSTS} {PROGRAM}",
            f"x {HOSTS}2{HOSTS} {PROGRAM}",
            (
                '"... e.org,a.example.org,1a.example.org,a.example.org,a.example.o ..." (shortened; see --verbose)',
                '"... e.org,a.example.org,2a.example.org,a.example.org,a.example.o ..." (shortened; see --verbose)',
            ),
        ),
        ("a" * 200, "b", (f'"{"a" * 60} ..." (shortened; see --verbose)', '"b"')),
    ],
)
def test_only_the_words_that_differ_are_shown(old: str, new: str, says: tuple[str, str]) -> None:
    assert differing(quoted(old), quoted(new)) == says


def test_what_differs_is_said_of_any_two_values() -> None:
    words = [
        "a",
        "bb",
        "a bb",
        PROGRAM,
        f"{PROGRAM}a",
        f"a {PROGRAM}",
        f"{PROGRAM}{PROGRAM}",
        "  ",
        " " * 200,
        "x" * 300,
        "x" * 301,
        HOSTS,
        f"{HOSTS}{HOSTS}",
        f"{PROGRAM}{HOSTS}a {PROGRAM}",
        f"{PROGRAM}{HOSTS}b {PROGRAM}",
    ]
    for old in words:
        for new in words:
            if old != new:
                had, has = differing(quoted(old), quoted(new))
                assert max(len(had), len(has)) < LONG + 40, (old, new)
                assert had != has, (old, new)


def test_a_long_value_shows_its_first_words() -> None:
    assert beginning(quoted("x" * 158)) == quoted("x" * 158)
    assert beginning(quoted(PROGRAM)).startswith('"ruby -e loop { ask; look }')
    assert beginning(quoted(PROGRAM)).endswith(' ..." (shortened; see --verbose)')


def test_a_plan_is_short_although_the_program_of_a_health_check_is_not() -> None:
    changes = tuple(
        change(
            Action.UPDATE,
            "unit",
            f"web.{number}",
            "grid-1",
            {"ready": {"Service.ExecStart": f"{PROGRAM}500{number} http 10.0.0.1", "Service.Post": "a\nb"}},
            {
                "ready": {
                    "Service.ExecStart": f"{PROGRAM}500{number} http shop",
                    "Service.Post": f"a\n{PROGRAM}{number}\nb",
                }
            },
        )
        for number in (1, 2)
    )
    plan = replace(released(), changes=changes)
    text = plan_screen.render(plan, Everything().briefs(), PLAIN)
    assert '~ unit of web.[1-2]\n    ~ ready.Service.ExecStart: "... http 10.0.0.1" -> "... http shop"\n' in text
    assert '        + "ruby -e loop { ask; look } loop { ask; look } loop {' in text
    assert max(map(len, text.splitlines())) < 160
    assert f"{PROGRAM}5001 http shop" not in plan_markdown.render(plan, Everything().briefs())
    assert f"{PROGRAM}5001 http shop" in plan_text.render(plan, HEADLINES, PLAIN, verbose=True)


def test_what_was_changed_by_hand_is_shown_whole() -> None:
    before, after = f"{PROGRAM}evil {PROGRAM}", f"{PROGRAM}good {PROGRAM}"
    lines = plan_text.difference("x", before, after, PLAIN, drift=True)
    assert quoted(before) in lines[0] and quoted(after) in lines[0]
    assert quoted(before) in plan_text.difference("x", None, before, PLAIN, drift=True)[0]


def test_of_several_long_lines_what_differs_in_each_is_shown() -> None:
    old, new = (f"{PROGRAM}{word} 1\n{PROGRAM}{word} 2" for word in ("old", "new"))
    assert plan_text.difference("x", old, new, PLAIN)[1:] == [
        '        - "... } old ..."',
        '        - "... } old ..."',
        '        + "... } new ..."',
        '        + "... } new ..."',
    ]
