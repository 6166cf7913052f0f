"""One server of the fleet is in somebody else's hands: what it says harms nobody but itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from infra.errors import ERROR, OK, UNREACHABLE, DynoctlError
from infra.model import release
from infra.model.origin import Origin
from infra.state import release_body
from infra.state.vouching import NOTHING
from tests.simulation import facts
from tests.simulation.app import deployed, running, slugs
from tests.simulation.harness import Outcome, Simulation, manifest
from tests.simulation.registry import digest
from tests.simulation.server import STATE, SimServer

ORIGIN = Origin("example.org/shop", "", "dyno.yaml", "here", "/nowhere")
HOME = f"{STATE}/shop"
DEEP = "[" * 100_000

GARBAGE = {
    "nothing": "",
    "another machine": "machine_id ../../etc\ncores 4\nsystemd systemd 252\nmeta ",
    "superscript": "machine_id m\ncores ²\nsystemd systemd 252\nmeta ",
    "infinite": "machine_id m\ncores 1e999\nsystemd systemd 252\nmeta ",
    "terminal": "\x1b[2J\x1b]0;x\x07",
}

DAMAGED = {
    "meta.json": [DEEP, "{}", "null", '{"serial": "7", "dynos": {}, "servers": {}}', '{"serial": 1e999}'],
    "releases/1.json": [DEEP, '{"number": true}', '{"number": "²"}', '{"number": 1, "when": 7}', '{"number": -1}'],
    "applied/unit.shop-web.1.json": [
        DEEP,
        '{"key": "unit.shop-web.1", "attributes": {}, "port": "x"}',
        '{"attributes": []}',
    ],
    "origin": [DEEP, "null", '{"file": 7}'],
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_server_that_says_nonsense_stops_nobody_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    told = facts.render

    def lie(server: SimServer, app: str, reached_by: str) -> str:
        return GARBAGE[name] if server.host == "s2" else told(server, app, reached_by)

    monkeypatch.setattr(facts, "render", lie)
    fleet["s2"].cache.clear()
    outcome = fleet.apply(manifest("s1", "s2", "s3", web=3, slug="b"), skip_unreachable=False)
    assert outcome.code == UNREACHABLE and outcome.plan is not None
    assert str(outcome.plan.unreachable["s2"]).startswith("s2: its answer is invalid: ")
    assert sorted(running(fleet).values()) == ["a", "b", "b"]


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, texts in DAMAGED.items() for text in texts])
def test_a_record_that_is_nonsense_stops_nothing(file: str, text: str) -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet["s2"].files[f"{HOME}/{file}"] = text
    fleet["s2"].version += 1
    assert fleet.apply(manifest("s1", "s2", "s3", web=3, slug="b")).code == OK
    assert set(running(fleet).values()) == {"b"}
    assert fleet.rollback(manifest("s1", "s2", "s3", web=3, slug="b")).code == OK
    assert json.loads(fleet["s2"].files[f"{HOME}/meta.json"])["serial"] > 0


# Releases and settings that the server made up.

EVIL = digest("/bad")
TREE = manifest("s1", "s2", "s3", web=3, slug="b")


def forge(server: SimServer, number: int, *, result: str = "ok", **body: object) -> None:
    """Write a release that never was, with a body that fits: everything that root on a server can do."""
    known = json.loads(server.files[f"{HOME}/releases/1.body"])
    text = json.dumps({**known, "slug": EVIL, **body}, sort_keys=True)
    made = release.new(number, EVIL, release_body.content(text), manifest="0", body=text)
    made = replace(made, result=result, moved=True, when="2999-01-01T00:00:00Z", who="ann@laptop")
    server.files[f"{HOME}/releases/{number}.body"] = text
    server.files[f"{HOME}/releases/{number}.json"] = made.as_json()
    server.files[f"{HOME}/slugs/{EVIL}.squashfs"] = "evil\n"
    server.version += 1


def evil(fleet: Simulation) -> set[str]:
    """The honest servers that run what the lying one made up."""
    return {host for host in ("s1", "s3") if host in fleet.fleet.servers and "bad" in slugs(fleet[host]).values()}


@pytest.fixture
def two() -> Simulation:
    """Three servers with two releases; ``s2`` is the one that lies."""
    fleet = deployed("s1", "s2", "s3", web=3)
    assert fleet.apply(TREE).code == OK
    return fleet


@pytest.mark.parametrize("number", [1, 2, 3, 99])
@pytest.mark.parametrize("named", [True, False])
def test_a_release_that_one_server_made_up_runs_nowhere_else(two: Simulation, number: int, named: bool) -> None:
    forge(two["s2"], number)
    outcome = two.rollback(TREE, f"v{number}" if named else None)
    assert not evil(two), outcome.said
    assert set(running(two).values()) <= {"a", "b"}


def test_it_says_who_is_alone_and_what_to_type(two: Simulation) -> None:
    forge(two["s2"], 99)
    outcome = two.rollback(TREE, "v99")
    assert outcome.code == ERROR and outcome.plan is not None
    (error,) = outcome.plan.errors
    assert "v99 is known from s2 alone" in error.summary and "s1, s3" in error.summary and "--trust s2" in error.hint
    unnamed = two.rollback(TREE)
    assert "only s2 has a record of v99" in unnamed.said and "rollback v1" in str(getattr(unnamed.error, "hint", ""))


def test_it_is_not_copied_by_an_apply_and_so_gets_no_second_witness(two: Simulation) -> None:
    forge(two["s2"], 99)
    assert two.apply(manifest("s1", "s2", "s3", web=3, slug="c")).code == OK
    for host in ("s1", "s3"):
        assert f"{HOME}/releases/99.json" not in two[host].files
    two.rollback(TREE, "v99")
    assert not evil(two)


def test_what_most_servers_say_is_used_though_one_differs(two: Simulation) -> None:
    forge(two["s2"], 1)
    outcome = two.rollback(TREE, "v1")
    assert outcome.code == OK and set(running(two).values()) == {"a"}


def test_of_two_servers_that_differ_neither_is_believed() -> None:
    fleet = deployed("s1", "s2")
    wanted = manifest("s1", "s2", slug="b")
    assert fleet.apply(wanted).code == OK
    forge(fleet["s2"], 1)
    outcome = fleet.rollback(wanted, "v1")
    assert not evil(fleet) and outcome.code == ERROR
    assert fleet.rollback(wanted, "v1", trust=frozenset({"s1"})).code == OK
    assert set(running(fleet).values()) == {"a"}


def test_what_was_applied_from_here_needs_no_other_witness() -> None:
    fleet = Simulation("s1", "s2")
    fleet.origin = ORIGIN
    assert fleet.apply(manifest("s1", web=1)).code == OK
    assert fleet.apply(manifest("s1", web=1, slug="b")).code == OK
    both = manifest("s1", "s2", web=2, slug="a")
    known, fleet.known = fleet.known, NOTHING
    assert "v1 is known from s1 alone" in str(two_errors(fleet.rollback(both, "v1"))), "another computer did not see it"
    fleet.known = known
    outcome = fleet.rollback(both, "v1")
    assert outcome.code == OK and set(running(fleet).values()) == {"a"}


def two_errors(outcome: Outcome) -> list[str]:
    return [outcome.said, *([] if outcome.plan is None else [error.summary for error in outcome.plan.errors])]


def test_a_forged_release_is_refused_also_where_this_computer_knows_the_true_one() -> None:
    fleet = Simulation("s1", "s2")
    fleet.origin = ORIGIN
    for name in ("a", "b"):
        assert fleet.apply(manifest("s1", "s2", slug=name)).code == OK
    forge(fleet["s2"], 1)
    fleet.rollback(manifest("s1", "s2", slug="b"), "v1")
    assert not evil(fleet)


def test_a_known_release_under_another_number_is_not_known() -> None:
    """A server could have an old release with a flaw run by all, by recording it once more as the newest one."""
    fleet = Simulation("s1", "s2", "s3")
    fleet.origin = ORIGIN
    wanted = manifest("s1", "s2", "s3", slug="b")
    for name in ("a", "b"):
        assert fleet.apply(manifest("s1", "s2", "s3", slug=name)).code == OK
    liar = fleet["s2"]
    old = json.loads(liar.files[f"{HOME}/releases/1.json"])
    liar.files[f"{HOME}/releases/9.json"] = json.dumps({**old, "number": 9, "when": "2999-01-01T00:00:00Z"})
    liar.files[f"{HOME}/releases/9.body"] = liar.files[f"{HOME}/releases/1.body"]
    liar.version += 1
    with pytest.raises(DynoctlError, match="only s2 has a record of v9, and it may be forged"):
        fleet.running(wanted)
    assert fleet.apply(manifest("s1", "s2", "s3", slug="c")).code == OK
    assert f"{HOME}/releases/9.json" not in fleet["s1"].files
    assert fleet.rollback(wanted, "v9").code == ERROR and "a" not in running(fleet).values()


def test_parts_of_a_body_that_no_digest_had_covered_are_those_that_were_applied(two: Simulation) -> None:
    """The candidate's command and the packages were not part of what makes a release the same."""
    for host in ("s1", "s2", "s3"):
        path = f"{HOME}/releases/1.body"
        if path in two[host].files:
            body = {**json.loads(two[host].files[path]), "candidate": ["evil"], "packages": ["evil"]}
            if host == "s2":
                two[host].files[path] = json.dumps(body, sort_keys=True)
    seen: list[tuple[str, ...]] = []
    two.on_ready = lambda ready: seen.append(ready.stack.candidate("x"))
    assert two.rollback(TREE, "v1").code == OK
    assert seen and ("evil",) not in seen


@pytest.mark.parametrize("sealed", ["", "ab" * 32, "zz"])
def test_a_seal_that_one_server_changed_hinders_nobody(two: Simulation, sealed: str) -> None:
    path = f"{HOME}/releases/1.json"
    changed = {**json.loads(two["s2"].files[path]), "sealed": sealed, "when": "2999-01-01T00:00:00Z", "moved": True}
    two["s2"].files[path] = json.dumps(changed)
    two["s2"].version += 1
    assert two.rollback(TREE, "v1").code == OK and set(running(two).values()) == {"a"}


@pytest.mark.parametrize("number", [10**8, 999_999_999])
def test_no_number_of_a_single_server_uses_up_all_others(two: Simulation, number: int) -> None:
    forge(two["s2"], number)
    two["s2"].files[f"{HOME}/releases/{number + 7}.body"] = "x"
    wanted = manifest("s1", "s2", "s3", web=3, slug="c")
    assert two.apply(wanted).code == OK
    assert f"{HOME}/releases/3.json" in two["s1"].files and set(running(two).values()) == {"c"}


@pytest.mark.parametrize("serial", [10**9, 10**17, 10**18])
def test_no_serial_of_a_single_server_decides_for_ever(two: Simulation, serial: int) -> None:
    path = f"{HOME}/meta.json"
    two["s2"].files[path] = json.dumps({**json.loads(two["s2"].files[path]), "serial": serial, "dynos": {}})
    two["s2"].version += 1
    assert two.apply(manifest("s1", "s2", "s3", web=3, slug="c")).code == OK
    assert json.loads(two["s1"].files[path])["serial"] < 100
    assert two.pending(manifest("s1", "s2", "s3", web=3, slug="c")) == []


def test_an_image_that_one_server_replaced_is_not_sent_to_another(two: Simulation) -> None:
    path = f"{HOME}/slugs/{digest('/a')}.squashfs"
    two["s2"].files[path] = "evil\n"
    two["s3"].remove(path)
    outcome = two.rollback(TREE, "v1")
    assert two["s3"].files.get(path, "") != "evil\n"
    assert "no two servers have the same image" in outcome.said


# Servers that it names as those of the app.


def name_as_ours(fleet: Simulation, liar: str, victim: str, *, spare: bool = False, **way: str) -> str:
    """Let a server record that another one belongs to the app; returns the machine-id of the victim."""
    path, server = f"{HOME}/meta.json", fleet[liar]
    meta = json.loads(server.files[path])
    machine = fleet[victim].machine_id
    section = "spares" if spare else "servers"
    known = {"name": victim, "host": victim, "user": "", "port": "", "gateway": "", "address": "", **way}
    meta = {**meta, "serial": meta["serial"] + 5, section: {**meta.get(section, {}), machine: known}}
    server.files[path] = json.dumps(meta if spare else {**meta, "dynos": {**meta["dynos"], "web.9": machine}})
    server.version += 1
    return machine


def victim_of(*hosts: str, **keys: object) -> tuple[Simulation, int]:
    """A fleet, and a server ``v`` on which another manifest runs an app of the same name; the version of its files."""
    fleet = deployed(*hosts, **keys)
    fleet.fleet.add("v")
    theirs = Simulation("v")
    theirs.fleet = fleet.fleet
    assert theirs.apply(manifest("v", web=1, slug="c")).code == OK
    return fleet, fleet["v"].version


@pytest.mark.parametrize("spare", [False, True])
@pytest.mark.parametrize("hosts", [("s1", "s2", "s3"), ("s1", "s2"), ("s2",)], ids=len)
def test_a_server_that_one_server_names_is_neither_logged_in_to_nor_emptied(
    hosts: tuple[str, ...], spare: bool
) -> None:
    fleet, before = victim_of(*hosts)
    name_as_ours(fleet, "s2", "v", spare=spare)
    connects: list[str] = []
    connect = fleet.fleet.connect
    fleet.fleet.connect = lambda target: connects.append(target.host) or connect(target)  # type: ignore[method-assign, func-returns-value, assignment]
    for slug in ("b", "a", "c"):  # what one server says is copied, and must not get a second witness by that
        fleet.apply(manifest(*hosts, slug=slug))
    fleet.rollback(manifest(*hosts, slug="c"))
    fleet.destroy(manifest(*hosts))
    assert fleet["v"].version == before and fleet["v"].processes
    assert "v" not in connects


def test_it_says_who_names_it_and_how_to_say_yes() -> None:
    fleet, before = victim_of("s1", "s2")
    name_as_ours(fleet, "s2", "v")
    outcome = fleet.apply(manifest("s1", "s2", slug="b"))
    assert outcome.code == UNREACHABLE and outcome.plan is not None and set(running(fleet).values()) == {"b", "c"}
    error = outcome.plan.unreachable["v"]
    assert "v (v) is not in dyno.yaml, and known from s2 alone: it is not logged in to" in str(error)
    assert "--trust s2" in error.hint and "--forget v" in error.hint
    assert fleet["v"].version == before


def test_the_name_of_its_only_witness_is_copied_with_it() -> None:
    fleet, _ = victim_of("s1", "s2", "s3")
    machine = name_as_ours(fleet, "s2", "v")
    assert fleet.apply(manifest("s1", "s2", "s3", slug="b")).code == UNREACHABLE
    copied = json.loads(fleet["s1"].files[f"{HOME}/meta.json"])["servers"][machine]
    assert copied["from"] == fleet["s2"].machine_id
    fleet.hint = {}
    assert "known from s2 alone" in str(fleet.plan(manifest("s1", "s2", "s3", slug="b")).plan.unreachable["v"])


@pytest.mark.parametrize("told_by", ["nobody known", "another server", "itself", ""])
def test_what_is_copied_from_a_server_is_no_second_witness_for_what_it_says_later(told_by: str) -> None:
    fleet, before = victim_of("s1", "s2", "s3")
    hosts = ("s1", "s2", "s3")
    machine = name_as_ours(fleet, "s2", "v")
    assert fleet.apply(manifest(*hosts, slug="b")).code == UNREACHABLE  # the others now have it, as said by s2
    fleet.hint = {}
    witness = {"nobody known": "f" * 32, "another server": fleet["s1"].machine_id, "itself": fleet["s2"].machine_id}
    name_as_ours(fleet, "s2", "v", **({"from": witness[told_by]} if told_by else {}))
    for slug in ("c", "a"):
        fleet.apply(manifest(*hosts, slug=slug))
    fleet.destroy(manifest(*hosts))
    assert machine == fleet["v"].machine_id and fleet["v"].version == before and fleet["v"].processes


def test_a_server_cannot_speak_for_another_one_that_the_user_believes() -> None:
    fleet, before = victim_of("s1", "s2", "s3")
    name_as_ours(fleet, "s2", "v", **{"from": fleet["s1"].machine_id})
    fleet.apply(manifest("s1", "s2", "s3", slug="b"), trust=frozenset({"s1"}))
    assert fleet["v"].version == before and fleet["v"].processes


def test_the_only_witness_is_believed_after_its_words_were_copied() -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet.hint = {}
    path, machine = f"{HOME}/meta.json", fleet["s3"].machine_id
    meta = json.loads(fleet["s1"].files[path])
    fleet["s1"].files[path] = json.dumps({**meta, "serial": meta["serial"] + 1})
    del meta["servers"][machine]
    fleet["s2"].files[path] = json.dumps(meta)
    for server in ("s1", "s2"):
        fleet[server].version += 1
    for _ in range(2):
        assert fleet.apply(manifest("s1", "s2", web=3)).code == UNREACHABLE and fleet["s3"].processes
        fleet.hint = {}
    assert json.loads(fleet["s1"].files[path])["servers"][machine]["from"] == fleet["s1"].machine_id
    assert fleet.apply(manifest("s1", "s2", web=3), trust=frozenset({"s1"})).code == OK
    assert not fleet["s3"].processes


def test_a_server_that_left_is_emptied_if_two_others_name_it() -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet.hint = {}
    assert fleet.apply(manifest("s1", "s3", web=3)).code == OK
    assert not fleet["s2"].processes


def test_a_server_that_left_is_emptied_if_it_was_applied_to_it_from_here() -> None:
    fleet = deployed("s1", "s2")
    assert fleet.apply(manifest("s1")).code == OK
    assert not fleet["s2"].processes


def test_a_server_that_left_is_emptied_if_the_user_believes_the_only_witness() -> None:
    fleet = deployed("s1", "s2")
    fleet.hint = {}
    asked = fleet.apply(manifest("s1"))
    assert asked.code == UNREACHABLE and fleet["s2"].processes and len(running(fleet)) == 2, "nothing runs twice"
    assert fleet.apply(manifest("s1"), trust=frozenset({"s1"})).code == OK
    assert not fleet["s2"].processes and fleet.pending(manifest("s1")) == []


def test_a_server_that_only_one_names_is_given_up_by_name() -> None:
    fleet = deployed("s1", "s2")
    fleet.hint = {}
    fleet["s2"].shut_down()
    assert fleet.apply(manifest("s1"), forget=frozenset({"s2"})).code == OK
    assert len(running(fleet)) == 2 and fleet.pending(manifest("s1")) == []


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "v;x", "$(x)", "v x", "a@v", "v\n", "`x`", "v|x", "v'", ""])
def test_no_host_of_a_record_is_more_than_a_host(host: str) -> None:
    fleet, before = victim_of("s1", "s2")
    name_as_ours(fleet, "s2", "v", host=host)
    assert "v" not in fleet.plan(manifest("s1", "s2"), trust=frozenset({"s2"})).plan.unreachable
    assert fleet["v"].version == before


@pytest.mark.parametrize("address", [("v", "", ""), ("s1", "22", ""), ("s1", "", "root")])
def test_a_known_machine_at_another_address_is_not_known(address: tuple[str, str, str]) -> None:
    host, port, user = address
    fleet = deployed("s1", "s2", "s3", web=3)
    two = manifest("s1", "s2", web=3)
    known = fleet.hint["shop"][fleet["s3"].machine_id]
    fleet.hint["shop"][fleet["s3"].machine_id] = {**known, "host": host, "port": port, "user": user}
    found = fleet.plan(two).plan
    assert "s3" not in found.unreachable, "two servers name it at its own address"
