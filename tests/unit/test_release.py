"""Releases as values: unique numbers, the slugs and records that are kept, and the default target of a rollback."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import replace

import pytest

from infra.errors import DynoctlError
from infra.manifest.model import Writable
from infra.model import merged_releases, release
from infra.model.events import Failure, Report
from infra.model.release import Release
from infra.model.stack import Stack
from infra.sensitive import Sensitive
from infra.state import audit_log, release_body
from infra.views import releases as views
from infra.views import report_text
from infra.views.style import Style


def make(number: int, slug: str = "", result: str = "ok", of: int = 0, *, moved: bool = True) -> Release:
    return Release(number, slug or f"slug-{number}", "digest", "salt", result=result, of=of, moved=moved)


def numbers(releases: Iterable[Release]) -> set[int]:
    return {one.number for one in releases}


@pytest.mark.parametrize("seed", range(40))
def test_numbers_are_unique_with_any_servers_unreachable(seed: int) -> None:
    """Servers become unreachable and return between releases; each has the records of the releases that it took part in."""
    chance = random.Random(seed)
    machines = [f"machine-{number}" for number in range(chance.randint(1, 5))]
    memory: dict[str, tuple[Release, ...]] = dict.fromkeys(machines, ())
    given: list[int] = []
    for _ in range(60):
        reached = [machine for machine in machines if chance.random() < 0.6]
        if not reached:
            continue
        known = merged_releases.merge(memory[machine] for machine in reached)
        number = release.next_number(numbers(known), machines, reached)
        assert number > max((one.number for one in known), default=0)
        given.append(number)
        for machine in reached:
            memory[machine] = (*known, make(number))
    assert len(given) == len(set(given))


def test_numbers_are_consecutive_if_all_servers_are_reachable() -> None:
    assert release.next_number(set(), ["a", "b"], ["a", "b"]) == 1
    assert release.next_number({1, 2}, ["a", "b"], ["b", "a"]) == 3


def test_a_single_server_does_not_use_the_numbers_of_unknown_servers() -> None:
    assert release.next_number(set(), [], ["b"], unknown_servers=True) > 1000
    assert release.next_number({1001}, ["b"], ["b"]) == 1002


def test_records_are_merged_the_same_in_any_order() -> None:
    records = [
        [make(2, result="unfinished"), replace(make(2, result="unfinished"), commanded=True)],
        [make(2, result="failed"), make(2, result="ok")],
        [make(2, result="failed"), make(2, result="reverted")],
        [make(2, result="unfinished", moved=False), make(2, result="interrupted")],
        [replace(make(2, result="unfinished"), on="m"), make(2, result="unfinished")],
        [replace(make(2, result="unfinished"), on="m"), make(2, result="failed")],
        [make(2), replace(make(2), salt="another", commanded=True)],
    ]
    merged = [merged_releases.merge([[record], [other]]) for record, other in records]
    assert merged == [merged_releases.merge([[other], [record]]) for record, other in records]
    ended = [one[0] for one in merged]
    assert [one.result for one in ended] == [
        "unfinished",
        "ok",
        "reverted",
        "interrupted",
        "unfinished",
        "failed",
        "ok",
    ]
    assert ended[0].commanded and ended[3].moved
    assert (ended[4].on, ended[5].on) == ("m", "")


def test_a_release_command_whose_end_is_unknown() -> None:
    one = replace(make(2, result="failed"), on="away")
    assert release.unfinished_command([make(1), one], ["here"], ["here", "away"]) == one
    assert release.unfinished_command([make(1), one], ["here", "away"], ["here", "away"]) is None
    assert release.unfinished_command([make(1), one], ["here"], ["here"]) is None, "forgotten"
    assert release.unfinished_command([replace(one, commanded=True)], ["here"], ["here", "away"]) is None


def test_an_interrupted_release_without_moved_dynos_is_not_current() -> None:
    one = make(1)
    for result in ("unfinished", "interrupted", "failed", "rejected", "reverted"):
        assert release.current([one, make(2, result=result, moved=False)]) == one
    assert release.current([one, make(2, result="failed")]) == make(2, result="failed")
    assert release.newest([one, make(2, result="unfinished", moved=False)]) == make(2, result="unfinished", moved=False)


@pytest.mark.parametrize("result", ["unfinished", "interrupted", "failed", "rejected", "reverted"])
def test_only_a_release_that_was_rolled_out_is_starred(result: str) -> None:
    releases = [make(1), make(2), make(3, result=result)]
    assert release.standing(releases) == make(2)
    assert release.standing(releases[2:]) is None
    lines = views.table(releases, release.standing(releases), {1: ["s1"], 2: ["s1"]}, Style(False)).splitlines()
    assert [line[:4].strip() for line in lines[1:4]] == ["v1", "* v2", "v3"]
    assert lines[-1].endswith("rollback v1" if result in release.BACK else "rollback v2")


def test_the_current_release_is_recorded_after_any_number_of_rejections() -> None:
    releases = [make(1, "a"), make(2), *(make(number, result="rejected") for number in range(3, 90))]
    stay = release.recorded(releases, ["slug-2", "a"])
    assert len(stay) == release.RECORDED
    assert release.current(stay) == make(2)
    assert {1, 2, 89} <= numbers(stay)


def test_a_server_that_was_unreachable_gets_the_result() -> None:
    away, there = [make(1), make(2, result="unfinished")], [make(1), make(2), make(3)]
    assert merged_releases.merge([away, there]) == merged_releases.merge([there, away]) == (make(1), make(2), make(3))


@pytest.mark.parametrize(
    ("releases", "number"),
    [
        ([make(1)], None),
        ([make(1), make(2)], 1),
        ([make(1), make(2, result="failed")], 1),
        ([make(1), make(2, result="unfinished")], 1),
        ([make(1), make(2), make(3, result="rejected")], 1),
        ([make(1), make(2), make(3, result="reverted"), make(4, result="rejected")], 1),
        ([make(1), make(2), make(3, of=1)], 1),
        ([make(1), make(2), make(3, of=1), make(4, of=2)], 2),
        ([make(1), make(2), make(3, of=1), make(4)], 3),
        ([make(1), make(2), make(3, of=1), make(4, result="rejected")], 1),
        ([make(1), make(2), make(3, of=1, result="unfinished")], 1),
        ([make(1), make(2), make(3, of=1, result="failed")], 1),
        ([make(1), make(2, of=1)], 1),
        ([make(1, result="rejected")], None),
    ],
)
def test_the_default_target_of_a_rollback(releases: list[Release], number: int | None) -> None:
    last_good = release.last_good(releases, {1, 2, 3, 4})
    assert (None if last_good is None else last_good.number) == number
    assert release.last_good(releases, set()) is None, "no server has a body"


def test_a_rollback_whose_target_is_no_longer_stored_is_completed_from_its_own_copy() -> None:
    releases = [make(1), make(2), make(3, of=1)]
    assert release.last_good(releases, {2, 3}) == releases[2]
    assert release.last_good(releases, {2}) is None, "v2 is what was rolled back from"


def test_what_is_further_back_than_a_rollback() -> None:
    releases = [make(1), make(2), make(3), make(4, of=2), make(5, of=1)]
    assert release.further_back(releases[3], releases, {1, 2, 3, 4}) == releases[0]
    assert release.further_back(releases[4], releases, {1, 2, 3, 4, 5}) is None
    assert release.further_back(releases[3], releases, {2, 3, 4}) is None


def test_the_slugs_that_are_kept() -> None:
    releases = [make(1, "a"), make(2, "b"), make(3, "c", "rejected"), make(4, "a"), make(5, "d", "reverted")]
    assert release.kept_slugs(releases, 5, "e") == ("e", "a", "b")
    assert release.kept_slugs(releases, 2, "b") == ("b", "a")
    assert release.kept_slugs(releases, 1, "e") == ("e",)


def test_the_bodies_that_are_kept() -> None:
    releases = [make(1, "a"), make(2, "b"), make(3, "b", "rejected"), make(4, "b"), make(5, "b"), make(6, "c")]
    assert release.kept_bodies(releases, ("c", "b"), 2) == {4, 5, 6}
    assert release.kept_bodies(releases, ("c",), 1) == {6}


def test_the_result_of_an_apply() -> None:
    one = make(7, result="unfinished")
    assert release.ended(one, "rejected", before=False, free=False).result == "rejected"
    assert release.ended(one, "rejected", before=True, free=True) == replace(one, result="failed")
    assert release.ended(one, "ok", before=True, free=False) == replace(one, result="ok")
    assert release.ended(one, "ok", before=False, free=True) == replace(one, result="ok", commanded=True)
    assert release.ended(make(7), "failed", before=True, free=True) == make(7), (
        "a failed repair does not change the result"
    )


@pytest.mark.parametrize(
    "entry",
    [{}, {"number": 0}, {"number": "1"}, {"number": 1}, {"number": 1, "slug": 2, "digest": "", "salt": ""}],
)
def test_a_damaged_record_is_ignored(entry: dict[str, object]) -> None:
    assert release.parse(entry) is None


def test_a_record_is_parsed_as_it_was_written() -> None:
    one = replace(make(3), message='a "b"\n', commit="1a2b")
    assert release.parse(json.loads(one.as_json())) == one
    assert release.parse(json.loads(one.as_json()) | {"later": 1}) == one


STACK = Stack(
    ruby=">= 3.1",
    program="/usr/bin/ruby",
    ruby_fits=lambda version: True,
    executables=("/usr/bin/thin",),
    packages=("thin",),
    environment={"LANG": "C.UTF-8"},
    writable=(Writable("tmp"),),
    rackup="run App\n",
    config="",
    web=("/usr/bin/thin", "start"),
    candidate=lambda path: ("/usr/bin/thin", "-S", f"unix:{path}"),
    commands={"worker": ("/bin/sh", "-c", "work")},
    workers=2,
)
VARIABLES = {"PLAIN": "a\nb", "SECRET": Sensitive("hunter2"), "LOGIN": Sensitive("me", common=True)}


def test_a_body_is_parsed_as_it_was_written() -> None:
    body = release_body.pack(STACK, "cafe", VARIABLES)
    assert "\n" not in body
    stored = release_body.unpack(4, body, lambda version, requirement: (version, requirement) == ("3.2", ">= 3.1"))
    assert (stored.number, stored.slug, stored.environment) == (4, "cafe", VARIABLES)
    login = stored.environment["LOGIN"]
    assert isinstance(login, Sensitive) and login.common
    assert stored.stack.ruby_fits("3.2") and not stored.stack.ruby_fits("3.3")
    assert stored.stack.candidate("/run/x") == STACK.candidate("/run/x")
    same = replace(stored.stack, ruby_fits=STACK.ruby_fits, candidate=STACK.candidate)
    assert same == STACK
    assert release_body.names(body) == (["LOGIN", "PLAIN", "SECRET"], ["/usr/bin/thin", "start"])
    earlier = {key: value for key, value in json.loads(body).items() if key != "workers"}
    assert release_body.unpack(4, json.dumps(earlier), lambda *_: True).stack.workers == 0


def test_the_changes_that_make_a_new_release() -> None:
    def content(stack: Stack = STACK, slug: str = "cafe", **more: str) -> str:
        return release_body.content(release_body.pack(stack, slug, VARIABLES | more))

    new = release.new(1, "cafe", content(), manifest="")
    assert new.runs(content())
    assert new.runs(content(replace(STACK, packages=(), ruby=">= 3.2", release=("migrate",))))
    assert not new.runs(content(slug="beef"))
    assert not new.runs(content(PLAIN="other"))
    assert not new.runs(content(replace(STACK, rackup="run Other\n")))
    assert "hunter2" not in new.as_json()


@pytest.mark.parametrize("body", ["", "{}", '{"version": 2}', '{"version": 1, "slug": 1}', "[]"])
def test_a_damaged_body_is_an_error(body: str) -> None:
    with pytest.raises(DynoctlError, match="cannot read release v4"):
        release_body.unpack(4, body, lambda *_: True)
    assert release_body.names(body) == ([], [])


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LISTEN_FDS", "PORT", "ENV", "dynoctl_X"])
def test_a_config_var_that_no_manifest_can_have_is_in_no_body(name: str) -> None:
    """A server may have written it: dynos on the others would load its code."""
    with pytest.raises(DynoctlError, match=f"cannot read release v4: variables: {name} cannot be set"):
        release_body.unpack(4, release_body.pack(STACK, "cafe", {**VARIABLES, name: "/x"}), lambda *_: True)


def test_a_partly_reverted_rollout_is_not_reverted() -> None:
    failures = [Failure("grid-2", "web.2", "grid-2: web.2 did not answer")]
    assert audit_log.result(Report(failures=failures, reverted=["web.2"])) == "reverted"
    partly = Report(failures=failures, reverted=["web.2"], stranded=["web.1 on grid-1"])
    assert audit_log.result(partly) == "failed"
    text = report_text.render(partly, 1.0, "Apply", Style(False))
    assert "Not reverted, may still run the new release: web.1 on grid-1." in text
