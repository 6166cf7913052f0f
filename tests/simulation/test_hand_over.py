"""Schedules that move: no time of one is lost or served twice, whoever is interrupted, broken or has the wrong time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from infra.errors import ERROR, OK, REJECTED, UNREACHABLE
from infra.manifest.model import Manifest, Server
from infra.model.events import Event
from tests.simulation import moments
from tests.simulation.app import deployed, report, running
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, KILLED, Simulation, manifest
from tests.simulation.server import STATE, SimServer

UNIT = "dyno-shop-nightly-1"
DAY = 24 * 3600


def home(fleet: Simulation) -> SimServer:
    """The one server on which the schedule is active."""
    (server,) = (server for server in fleet.fleet.servers.values() if UNIT in server.timers)
    return server


def draining(*names: str, servers: Sequence[str] = ("s1", "s2"), **keys: object) -> Manifest:
    keys = {"web": 0, "schedule": True, **keys}
    return manifest(*(Server(name, name, drain=name in names) for name in servers), **keys)


def up(*servers: str, **keys: object) -> Simulation:
    return deployed(*(servers or ("s1", "s2")), **{"web": 0, "schedule": True, **keys})


def served(fleet: Simulation) -> float:
    return fleet.fleet.moments.served[UNIT].moment


def test_a_schedule_moves_with_its_times() -> None:
    fleet = up(when=moments.SHORT)
    old = home(fleet)
    fleet.fleet.clock.advance(35)
    assert fleet.apply(draining(old.host, when=moments.SHORT)).code == OK
    new = home(fleet)
    assert new is not old and not old.stamps
    assert served(fleet) == moments.latest(moments.SHORT, new.time)


@pytest.mark.parametrize("skew", [-3600, 3600, 20])
def test_the_operators_clock_decides_nothing(skew: float) -> None:
    fleet = up()
    old, before = home(fleet), served(fleet)
    fleet.fleet.clock.skew = skew
    assert fleet.apply(draining(old.host)).code == OK
    assert served(fleet) == before, "nothing ran, as no time has come"


@pytest.mark.parametrize(("there", "here"), [(20, 0), (0, 20), (-15, 15), (15, -15)])
def test_servers_whose_clocks_differ_serve_a_time_once(there: float, here: float) -> None:
    """``fleet.moments`` fails if one is served twice or lost."""
    fleet = up(when=moments.SHORT)
    old = home(fleet)
    other = next(server for server in fleet.fleet.servers.values() if server is not old)
    old.skew, other.skew = there, here
    fleet.fleet.clock.advance(60)
    for host in (old.host, other.host, old.host):
        assert fleet.apply(draining(host, when=moments.SHORT)).code == OK
        fleet.fleet.clock.advance(33)


def test_a_server_whose_clock_is_far_behind_does_not_take_over() -> None:
    """It would serve what the other one has served."""
    fleet = up(when=moments.SHORT)
    old = home(fleet)
    old.skew = 600
    fleet.fleet.clock.advance(60)
    outcome = fleet.apply(draining(old.host, when=moments.SHORT))
    assert outcome.code == ERROR and "behind" in outcome.said
    assert home(fleet) is old


@pytest.mark.parametrize("kind", [Kind.FAIL, Kind.HANG, Kind.FULL])
def test_a_server_that_cannot_take_over_is_checked_before_anything_stops(kind: Kind) -> None:
    fleet = up(web=2)
    old = home(fleet)
    fleet.fault("sim rehearse", Kind.FAIL if kind is Kind.FULL else kind)
    outcome = fleet.apply(draining(old.host, web=2, slug="b"))
    assert outcome.code == ERROR
    assert home(fleet) is old
    assert not [subject for _, _, subject in fleet.fleet.trace if subject.startswith("sim pause")]
    assert fleet.apply(draining(old.host, web=2, slug="b")).code == OK
    assert home(fleet) is not old


def test_a_server_that_is_lost_before_the_move_takes_nothing() -> None:
    fleet = up("s1", "s2", "s3", web=3)
    old = home(fleet)
    wanted = draining(old.host, servers=("s1", "s2", "s3"), web=3)
    ready = fleet.plan(wanted)
    ready.fleet.close()
    to = ready.plan.formation.homes["nightly.1"]
    fleet.fault("upload", Kind.FULL, host=to)
    fleet.fault("sim seal", Kind.FAIL, host=to)
    fleet[to].remove(next(path for path in fleet[to].files if path.endswith(".squashfs")))
    assert fleet.apply(wanted).code != OK
    assert home(fleet) is old


@pytest.mark.parametrize("kind", [Kind.FAIL, Kind.HALF, Kind.HANG, Kind.FULL])
def test_a_schedule_that_does_not_start_goes_back_with_its_release(kind: Kind) -> None:
    """It was nowhere, and the dynos ran the new release."""
    fleet = up(web=2)
    old = home(fleet)
    fleet.fleet.clock.advance(DAY)
    fleet.fault("sim schedule", kind)
    if kind is Kind.FULL:
        fleet.fleet.strikes.clear()
        fleet.fault(f"sim write /etc/systemd/system/{UNIT}", kind)
    wanted = draining(old.host, web=2, slug="b")
    outcome = fleet.apply(wanted)
    assert outcome.code == REJECTED and report(outcome).fully_reverted
    assert home(fleet) is old and set(running(fleet).values()) == {"a"}
    assert "nightly.1" in report(outcome).reverted
    assert not any("/moving/" in path or "/pending/" in path for path in old.files)
    fleet.fleet.clock.advance(DAY)
    assert fleet.apply(wanted).code == OK
    assert home(fleet) is not old


@pytest.mark.parametrize("kind", [Kind.KILL_BEFORE, Kind.KILL_HALF, Kind.KILL_AFTER, Kind.REBOOT])
@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("subject", ["sim pause", f"sim write /etc/systemd/system/{UNIT}", "sim schedule"])
@pytest.mark.parametrize("undone", [False, True])
def test_an_interrupted_move_is_finished_or_undone_by_the_next_apply(
    subject: str, kind: Kind, cut: int, undone: bool
) -> None:
    """And what came meanwhile is made up for, which ``fleet.moments`` checks."""
    fleet = up()
    old = home(fleet)
    fleet.fault(subject, kind, cut=cut)
    assert fleet.apply(draining(old.host)).code != OK
    fleet.fleet.clock.advance(DAY)
    wanted = draining() if undone else draining(old.host)
    assert fleet.apply(wanted).code == OK
    new = home(fleet)
    assert undone or new is not old
    assert served(fleet) == moments.latest(moments.DAILY, new.time)
    assert fleet.pending(wanted) == []
    assert not any("/moving/" in path for server in fleet.fleet.servers.values() for path in server.files)


def test_an_interrupted_move_is_no_change_by_hand() -> None:
    fleet = up()
    old = home(fleet)
    fleet.fault("sim pause", Kind.KILL_AFTER)
    assert fleet.apply(draining(old.host)).code == KILLED
    ready = fleet.plan(draining())
    ready.fleet.close()
    assert ready.plan.changes and not any(change.drift for change in ready.plan.changes)


def test_a_schedule_may_run_where_it_was_if_that_server_was_lost_in_the_move() -> None:
    """The record named the new server before the old one had stopped, and it ran on both."""
    fleet = up("s1", "s2", "s3")
    old = home(fleet)
    wanted = draining(old.host, servers=("s1", "s2", "s3"))
    fleet.fault("sim pause", Kind.CUT)
    assert fleet.apply(wanted).code == UNREACHABLE
    assert fleet.apply(wanted).code == UNREACHABLE
    assert home(fleet) is old
    old.connected = True
    fleet.fleet.clock.advance(DAY)
    assert fleet.apply(wanted).code == OK
    assert home(fleet) is not old


def test_a_schedule_that_may_run_where_it_went_is_not_resumed() -> None:
    fleet = up("s1", "s2", "s3")
    old = home(fleet)
    wanted = draining(old.host, servers=("s1", "s2", "s3"))
    fleet.fault("sim schedule", Kind.LOST_AFTER)
    outcome = fleet.apply(wanted)
    assert outcome.code == UNREACHABLE and report(outcome).stranded
    new = home(fleet)
    new.connected = False
    outcome = fleet.apply(wanted)
    assert outcome.code == UNREACHABLE and outcome.plan is not None
    assert any(f"kept on {old.host}: nightly.1, paused" in note for note in outcome.plan.notes)
    assert f"{STATE}/{APP}/moving/{UNIT}" in old.files
    new.connected = True
    assert fleet.apply(wanted).code == OK
    assert home(fleet) is new and fleet.pending(wanted) == []


def test_what_was_paused_continues_without_a_server_that_never_took_over() -> None:
    fleet = up("s1", "s2", "s3")
    old = home(fleet)
    wanted = draining(old.host, servers=("s1", "s2", "s3"))
    fleet.fault("sim schedule", Kind.OFF, cut=0)
    assert fleet.apply(wanted).code == UNREACHABLE
    lost = next(server for server in fleet.fleet.servers.values() if not server.powered)
    fleet.fleet.clock.advance(DAY)
    assert fleet.apply(wanted).code == UNREACHABLE
    assert fleet.apply(wanted, evacuate=frozenset({lost.host})).code == OK
    assert served(fleet) == moments.latest(moments.DAILY, home(fleet).time)


def test_a_run_that_does_not_end_keeps_the_schedule_where_it_is() -> None:
    """It was killed after a minute. ``pause`` fails instead."""
    fleet = up(web=2)
    old = home(fleet)
    fleet.fault("sim pause", Kind.HALF, cut=3)
    wanted = draining(old.host, web=2, slug="b")
    outcome = fleet.apply(wanted)
    assert outcome.code == ERROR and not report(outcome).reverted
    assert home(fleet) is old and set(running(fleet).values()) == {"b"}, "the release stays"
    assert fleet.apply(wanted).code == OK
    assert home(fleet) is not old


def test_one_schedule_that_fails_takes_no_other_back_without_a_release() -> None:
    fleet = up()
    old = home(fleet)
    fleet.fault("sim schedule", Kind.FAIL)
    outcome = fleet.apply(draining(old.host))
    assert outcome.code == ERROR and not report(outcome).reverted
    assert home(fleet) is old


def test_ctrl_c_leaves_no_schedule_nowhere() -> None:
    fleet = up()
    old = home(fleet)

    def pressed(event: Event) -> bool:
        return event.text == "hand over"

    assert fleet.apply(draining(old.host), stop=pressed).code == ERROR
    assert home(fleet) is old


def test_a_new_calendar_does_not_apply_to_the_past() -> None:
    fleet = up()
    old = home(fleet)
    fleet.fleet.clock.advance(5)
    assert fleet.apply(draining(old.host, when=moments.SHORT)).code == OK
    assert served(fleet) >= home(fleet).time - 1, "it starts from now"


def test_every_copy_but_one_goes() -> None:
    fleet = up("s1", "s2", "s3")
    old = home(fleet)
    old.connected = False
    wanted = draining(servers=("s1", "s2", "s3"))
    assert fleet.apply(wanted, evacuate=frozenset({old.host})).code == OK
    old.connected = True
    new = next(server for server in fleet.fleet.servers.values() if UNIT in server.timers and server is not old)
    assert fleet.apply(draining(new.host, servers=("s1", "s2", "s3"))).code == OK
    assert home(fleet) is not new
    assert fleet.pending(draining(new.host, servers=("s1", "s2", "s3"))) == []


@pytest.mark.parametrize(
    ("step", "keys"),
    [
        ("sim rehearse", {}),
        ("sim pause", {}),
        ("sim start", {"schedule": False, "worker": 1}),
        ("sim stop", {"schedule": False, "worker": 1}),
    ],
)
def test_what_began_to_move_stays_while_its_new_server_is_unreachable(step: str, keys: dict[str, object]) -> None:
    """It was removed, although it never started there, and ran nowhere."""
    fleet = up(**keys)
    old = next(server for server in fleet.fleet.servers.values() if server.timers or server.processes)
    new = next(server for server in fleet.fleet.servers.values() if server is not old)
    what = "nightly.1" if old.timers else "worker.1"
    moved = draining(old.host, **keys)
    fleet.fault(step, Kind.KILL_BEFORE)
    assert fleet.apply(moved).code == KILLED
    new.shut_down()
    for _ in range(3):
        outcome = fleet.apply(moved)
        assert outcome.code == UNREACHABLE and outcome.plan is not None
        assert old.timers or old.processes
        note = f"kept on {old.host}: {what}; {new.host}, where it belongs, is unreachable and may not run it"
        assert note in outcome.plan.notes
        # Another release does not make anybody forget it.
        moved = draining(old.host, slug="b", **keys)
    new.boot_up()
    assert fleet.apply(moved).code == OK
    assert (new.timers or new.processes) and not old.timers and not old.processes
    assert fleet.pending(moved) == []


def test_what_has_moved_leaves_its_old_server_although_the_new_one_is_unreachable() -> None:
    """It was evacuated: it runs twice if the old server turns up again."""
    fleet = up("s1", "s2", "s3", schedule=False, worker=1)
    old = next(server for server in fleet.fleet.servers.values() if server.processes)
    wanted = draining(servers=("s1", "s2", "s3"), schedule=False, worker=1)
    old.shut_down()
    assert fleet.apply(wanted, evacuate=frozenset({old.host})).code == OK
    new = next(server for server in fleet.fleet.servers.values() if server.processes)
    old.boot_up()
    new.connected = False
    assert fleet.apply(wanted).code == UNREACHABLE
    assert new.processes and not old.processes
