"""A server is who it is: wrong, shared and changed addresses, machines that were replaced, and who can be given up."""

from __future__ import annotations

import pytest

from infra.errors import ERROR, OK, UNREACHABLE, DynoctlError
from infra.manifest.model import Server, Ssh
from tests.simulation.app import deployed, report, running
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, Outcome, Simulation, manifest
from tests.simulation.invariants import upstreams
from tests.simulation.server import STATE


def errors(outcome: Outcome) -> str:
    found = [] if outcome.plan is None else [error.summary for error in outcome.plan.errors]
    return "\n".join([outcome.said, *found])


def versions(fleet: Simulation) -> dict[str, int]:
    return {host: server.version for host, server in fleet.fleet.servers.items()}


def dynos(fleet: Simulation, host: str) -> set[str]:
    return {process.dyno for process in fleet[host].processes.values()}


# A wrong address.

WRONG = Server("s2", "s9")


@pytest.mark.parametrize("name", ["s2", "renamed"])
def test_nothing_is_taken_from_a_server_whose_address_is_mistyped(name: str) -> None:
    fleet = deployed("s1", "s2", router=["s2"], worker=2, schedule=True)
    before = versions(fleet)
    wrong = manifest("s1", Server(name, "s9"), router=[name], worker=2, schedule=True)
    for outcome in (fleet.apply(wrong), fleet.rollback(wrong, "v1")):
        assert outcome.code == ERROR
        assert f"{name} is unreachable at s9" in errors(outcome) and "s2" in errors(outcome)
    assert versions(fleet) == before
    assert fleet.apply(manifest("s1", "s2", router=["s2"], worker=2, schedule=True)).code == OK


def test_a_server_that_moved_is_the_same_at_its_new_address() -> None:
    fleet = deployed(worker=2)
    since = {process.unit: process.since for process in fleet["s2"].processes.values()}
    fleet.fleet.move("s2", "s9")
    fleet["s9"].connected = False
    moved = manifest("s1", WRONG, worker=2)
    outcome = fleet.apply(moved)
    assert outcome.code == UNREACHABLE and dynos(fleet, "s1").isdisjoint(dynos(fleet, "s9")), "it is waited for"
    fleet["s9"].connected = True
    fleet["s9"].boot += 1
    assert fleet.apply(moved).code == OK
    assert {process.unit for process in fleet["s9"].processes.values()} == set(since)
    assert len(running(fleet)) == sum(len(server.processes) for server in fleet.fleet.servers.values()) == 4


def test_a_mistyped_server_that_is_away_keeps_its_dynos() -> None:
    """They were started elsewhere, and ran twice once the network was back."""
    fleet = deployed(worker=2)
    had = dynos(fleet, "s2")
    fleet["s2"].connected = False
    wrong = manifest("s1", WRONG, worker=2)
    assert fleet.apply(wrong).code == UNREACHABLE
    fleet["s2"].connected = True
    fleet["s2"].boot += 1
    assert "still answers at s2" in errors(fleet.apply(wrong))
    assert fleet.apply(manifest(worker=2)).code == OK
    assert dynos(fleet, "s2") == had and dynos(fleet, "s1").isdisjoint(had)


def test_a_mistyped_server_is_not_evacuated_while_it_answers_at_its_old_address() -> None:
    fleet = deployed(worker=2)
    before = versions(fleet)
    wrong = manifest("s1", WRONG, worker=2)
    assert "still answers at s2" in errors(fleet.apply(wrong, evacuate=frozenset({"s2"})))
    fleet["s2"].refuses = "authentication failed"
    assert "cannot evacuate s2: it answers" in errors(fleet.apply(wrong, evacuate=frozenset({"s2"})))
    assert versions(fleet) == before


@pytest.mark.parametrize("powered", [True, False])
def test_a_server_that_really_left_under_its_name_is_forgotten(powered: bool) -> None:
    """Its name belongs to a server that is still to come."""
    fleet = deployed(worker=2)
    if not powered:
        fleet["s2"].shut_down()
    new = manifest("s1", WRONG, worker=2)
    assert fleet.apply(new, forget=frozenset({"s2"})).code == UNREACHABLE  # s9 is still away
    assert dynos(fleet, "s1") == {"web.1", "web.2", "worker.1", "worker.2"} and not dynos(fleet, "s2")
    fleet.fleet.add("s9")
    assert fleet.apply(new).code == OK
    assert fleet.pending(new) == []


def test_records_of_a_mistyped_spare_stay() -> None:
    fleet = deployed("s1", "s2", web=1)
    spare = "s2" if fleet["s1"].processes else "s1"
    kept = "s1" if spare == "s2" else "s2"
    before = fleet[spare].version
    assert fleet.apply(manifest(kept, Server(spare, "s9"), web=1)).code in (ERROR, UNREACHABLE)
    assert fleet.apply(manifest(kept, Server("new", "s9"), web=1)).code in (ERROR, UNREACHABLE)
    assert fleet[spare].version == before


def test_a_server_that_joins_and_is_away_stops_nobody() -> None:
    fleet = deployed()
    assert fleet.apply(manifest("s1", "s2", "s9", slug="b")).code == UNREACHABLE
    assert set(running(fleet).values()) == {"b"}


def test_a_server_that_left_is_emptied_while_another_is_away() -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet["s3"].connected = False
    assert fleet.apply(manifest("s1", "s3", web=3)).code == UNREACHABLE
    assert not dynos(fleet, "s2")


def test_a_mistyped_address_of_another_server_of_the_fleet() -> None:
    fleet = deployed("s1", "s2")
    before = versions(fleet)
    twice = fleet.apply(manifest("s1", Server("s2", "S1")))
    assert twice.code == ERROR or versions(fleet) == before
    assert versions(fleet) == before


# A machine that is another one now.


def test_another_machine_at_the_address_of_a_server_that_left_is_not_emptied() -> None:
    """A server of somebody's app of the same name had got the address."""
    fleet = deployed(worker=2)
    fleet.fleet.rebuild("s2")
    theirs = Simulation("s2")
    theirs.fleet = fleet.fleet
    assert theirs.apply(manifest("s2", web=1, slug="c")).code == OK
    version = fleet["s2"].version
    one = manifest("s1", worker=2)
    outcome = fleet.apply(one)
    assert outcome.code == UNREACHABLE and outcome.plan is not None
    assert "is another machine now" in str(outcome.plan.unreachable["s2"])
    assert fleet.apply(one, forget=frozenset({"s2"})).code == OK
    assert fleet["s2"].version == version, "nothing is taken from a machine that was not recorded"
    assert fleet.pending(one) == []


def test_a_new_machine_at_an_old_address_is_said_and_gets_what_the_old_one_had() -> None:
    fleet = deployed("s1", "s2", "s3", worker=3, web=3)
    old = fleet["s2"].machine_id
    had = dynos(fleet, "s2")
    fleet.fleet.rebuild("s2")
    wanted = manifest("s1", "s2", "s3", worker=3, web=3)
    plan = fleet.plan(wanted).plan
    assert f"s2 is a new machine (was {old}, now {fleet['s2'].machine_id})" in plan.notes[0]
    assert fleet.apply(wanted).code == OK and dynos(fleet, "s2") == had
    assert not any("new machine" in note for note in fleet.plan(wanted).plan.notes)


@pytest.mark.parametrize("option", ["evacuate", "forget"])
def test_evacuate_and_forget_mean_the_old_machine(option: str) -> None:
    fleet = deployed(worker=2)
    wanted = manifest(release_command="migrate", worker=2, slug="b")
    fleet.fault("sim run-release", Kind.OFF)
    fleet.apply(wanted)
    on = next(host for host in ("s1", "s2") if not fleet[host].powered)
    fleet.fleet.rebuild(on)
    outcome = fleet.apply(wanted, **{option: frozenset({on})})
    assert outcome.code == OK, errors(outcome)
    assert len(running(fleet)) == sum(len(server.processes) for server in fleet.fleet.servers.values()) == 4
    assert fleet.pending(wanted) == []


def test_a_name_that_another_machine_has_now_is_said() -> None:
    """An address that was mistyped, and leads to a machine that answers: only the removal from the old one was said."""
    fleet = deployed("s1", "s2")
    old, new = fleet["s2"].machine_id, fleet.fleet.add("s9").machine_id
    ready = fleet.plan(manifest("s1", Server("s2", "s9")))
    ready.fleet.close()
    assert f"s2 is a new machine (was {old} at s2, now {new})" in ready.plan.notes
    renamed = fleet.plan(manifest("s1", Server("s2", "s9"), Server("s3", "s2")))
    renamed.fleet.close()
    assert not any("new machine" in note for note in renamed.plan.notes)


def test_release_numbers_go_on_by_one_after_a_machine_was_replaced() -> None:
    """The old machine counted as one that may give out numbers, for as long as any server was away."""
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet.fleet.rebuild("s2")
    numbers = []
    for slug in ("b", "c", "a", "b"):
        outcome = fleet.apply(manifest("s1", "s2", "s3", "s4", web=3, slug=slug))
        assert outcome.plan is not None and outcome.plan.release is not None
        numbers.append(outcome.plan.release.number)
    assert numbers == [numbers[0] + step for step in range(4)]


# Servers behind one host.


def behind(*names: str, **keys: object) -> list[Server]:
    return [Server(name, "gate", port=2200 + number, **keys) for number, name in enumerate(names, 1)]  # type: ignore[arg-type]


def shared(count: int) -> Simulation:
    return Simulation(*(f"gate:{2200 + number}" for number in range(1, count + 1)))


def test_a_server_behind_a_shared_host_that_leaves_is_emptied() -> None:
    fleet = shared(2)
    both = behind("s1", "s2")
    assert fleet.apply(manifest(*both, worker=2)).code == OK
    assert dynos(fleet, "gate:2202")
    assert fleet.apply(manifest(both[0], worker=2)).code == OK
    assert not dynos(fleet, "gate:2202") and len(dynos(fleet, "gate:2201")) == 4
    assert not fleet["gate:2202"].below(f"{STATE}/{APP}")


def test_a_server_behind_a_shared_host_that_is_away_keeps_its_dynos() -> None:
    fleet = shared(3)
    three = manifest(*behind("s1", "s2", "s3"), web=3, worker=3, router=["s1"])
    assert fleet.apply(three).code == OK
    had = dynos(fleet, "gate:2203")
    fleet["gate:2203"].connected = False
    assert fleet.apply(three).code == UNREACHABLE
    assert len(upstreams(fleet["gate:2201"])) == 3
    fleet["gate:2203"].connected = True
    fleet["gate:2203"].boot += 1
    assert fleet.apply(three).code == OK and dynos(fleet, "gate:2203") == had
    assert fleet.pending(three) == []


def test_a_wrong_port_takes_nothing() -> None:
    fleet = shared(2)
    first, second = behind("s1", "s2")
    assert fleet.apply(manifest(first, second, worker=2)).code == OK
    before = versions(fleet)
    outcome = fleet.apply(manifest(first, Server("s2", "gate", port=2209), worker=2))
    assert outcome.code == ERROR and "s2 is unreachable at gate:2209, and still answers at gate:2202" in errors(outcome)
    assert versions(fleet) == before


def test_a_port_that_is_said_is_no_other_server() -> None:
    """The default port, written out, is the same address."""
    fleet = deployed(worker=2)
    fleet["s2"].connected = False
    said = manifest("s1", Server("s2", "S2", port=22), worker=2)
    outcome = fleet.apply(said)
    assert outcome.code == UNREACHABLE and outcome.plan is not None and list(outcome.plan.unreachable) == ["s2"]
    assert len(dynos(fleet, "s1")) == 2


def test_one_address_behind_another_gateway_is_another_server() -> None:
    fleet = deployed(worker=2, ssh=Ssh(gateway="jump-a"))
    fleet["s2"].connected = False
    other = manifest("s1", Server("other", "s2"), worker=2, ssh=Ssh(gateway="jump-b"))
    assert fleet.plan(other).plan.formation.homes.values() != {"other"}
    same = manifest("s1", "s2", worker=2, ssh=Ssh(gateway="jump-b"))
    assert fleet.apply(same).code == UNREACHABLE and len(dynos(fleet, "s1")) == 2, "the name says that it is waited for"


# Several addresses of one server.


def test_a_server_that_is_reached_by_another_address_restarts_nothing() -> None:
    fleet = deployed(router=["s1"])
    since = {process.unit: process.since for process in fleet["s2"].processes.values()}
    led = upstreams(fleet["s1"])
    fleet["s2"].others["s2.lan"] = "192.168.0.2"
    inside = manifest("s1", Server("s2", "s2.lan"), router=["s1"])
    assert fleet.pending(inside) == ["records"], "only the address in the records changes"
    assert fleet.apply(inside).code == OK and fleet.pending(inside) == []
    assert fleet.apply(manifest("s1", Server("s2", "s2.lan"), router=["s1"], web=4)).code == OK
    assert since.items() <= {process.unit: process.since for process in fleet["s2"].processes.values()}.items()
    assert led.items() <= upstreams(fleet["s1"]).items()
    assert {address.rpartition(":")[0] for address in upstreams(fleet["s1"]).values()} == {"10.0.0.1", "10.0.0.2"}


def test_an_address_that_a_server_lost_is_not_kept() -> None:
    fleet = deployed()
    fleet["s2"].address = "10.0.0.99"
    fleet["s2"].version += 1
    outcome = fleet.apply(manifest())
    assert outcome.code == OK and report(outcome).done
    assert fleet.pending(manifest()) == []


# Only silence is given up.

NOISE = ["authentication failed for user root", "host key verification failed", "user app cannot become root"]


@pytest.mark.parametrize("why", NOISE)
def test_a_server_that_refuses_the_login_is_not_evacuated(why: str) -> None:
    fleet = deployed(worker=2)
    before = versions(fleet)
    fleet["s2"].refuses = why
    outcome = fleet.apply(manifest(worker=2), evacuate=frozenset({"s2"}))
    assert outcome.code == ERROR and "cannot evacuate s2: it answers" in errors(outcome) and why in errors(outcome)
    assert isinstance(outcome.error, DynoctlError) and "--force" in outcome.error.hint
    assert versions(fleet) == before
    assert fleet.apply(manifest(worker=2), evacuate=frozenset({"s2"}), force=True).code == OK
    assert len(dynos(fleet, "s1")) == 4


def test_a_server_that_left_and_refuses_the_login_stops_the_apply() -> None:
    """Its workers were started elsewhere, beside those that it still ran."""
    fleet = deployed(worker=2)
    before = versions(fleet)
    fleet["s2"].refuses = NOISE[0]
    one = manifest("s1", worker=2)
    outcome = fleet.apply(one)
    assert outcome.code == ERROR and "s2 left the manifest and cannot be emptied" in errors(outcome)
    outcome = fleet.apply(one, forget=frozenset({"s2"}))
    assert outcome.code == ERROR and "cannot forget s2: it answers" in errors(outcome)
    assert versions(fleet) == before
    assert fleet.apply(one, forget=frozenset({"s2"}), force=True).code == OK
    assert report(fleet.destroy(one)).ok
