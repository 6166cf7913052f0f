"""A release that fails has failed everywhere: nothing of it runs, is routed to or is left on any server."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from infra.errors import ERROR, OK, REJECTED
from infra.manifest.model import Rollout, Server
from infra.model.events import Event
from infra.plan.selection import Selection
from tests.simulation.app import deployed, report, running, slugs
from tests.simulation.faults import Fault, Kind
from tests.simulation.harness import APP, KILLED, Outcome, Simulation, manifest
from tests.simulation.invariants import upstreams
from tests.simulation.registry import digest
from tests.simulation.server import STATE, UNITS

HELD = Rollout(min_healthy_time=30)
BEFORE = {"web.1": "a", "web.2": "a"}


def home_of(fleet: Simulation, dyno: str) -> str:
    unit = f"dyno-{APP}-{dyno.replace('.', '-')}"
    return next(host for host, server in fleet.fleet.servers.items() if unit in {*server.processes, *server.timers})


def texts(fleet: Simulation) -> dict[str, str]:
    """Every file that decides what runs, by server and path."""
    places = (f"/etc/dyno/{APP}/", UNITS, "/etc/dynoctl/router", f"{STATE}/{APP}/slugs", f"{STATE}/{APP}/applied")
    return {
        f"{host}{path}": text
        for host, server in fleet.fleet.servers.items()
        for path, text in server.files.items()
        if path.startswith(places)
    }


# New dynos and a bad release in one apply.


def test_new_dynos_come_after_the_canary() -> None:
    fleet = deployed()
    started: list[str] = []
    fleet.fleet.watch.append(lambda what, server, unit: started.append(unit[-1]) if what == "started" else None)
    assert fleet.apply(manifest(web=4, slug="b", rollout=Rollout(canary=1))).code == OK
    assert started == ["1", "3", "4", "2"]


def test_a_canary_that_fails_starts_no_new_dyno() -> None:
    fleet = deployed(router=["s1"])
    before = texts(fleet)
    fleet.fault("sim start dyno-shop-web-1", Kind.FAIL)
    outcome = fleet.apply(manifest(web=4, slug="b", router=["s1"], rollout=Rollout(canary=1)))
    assert outcome.code == REJECTED and report(outcome).reverted == ["web.1"]
    assert running(fleet) == BEFORE and texts(fleet) == before


@pytest.mark.parametrize("canary", [0, 1])
@pytest.mark.parametrize("fails", ["web-1", "web-2", "web-3", "web-4"])
def test_whichever_dyno_fails_nothing_of_the_release_is_left(canary: int, fails: str) -> None:
    fleet = deployed(router=["s1"], schedule=True)
    before = texts(fleet)
    fleet.fault(f"sim start dyno-shop-{fails}", Kind.FAIL)
    outcome = fleet.apply(manifest(web=4, slug="b", router=["s1"], schedule=True, rollout=Rollout(canary=canary)))
    assert outcome.code == REJECTED and report(outcome).fully_reverted
    assert running(fleet) == BEFORE and texts(fleet) == before


RACKS = tuple(Server(f"s{number}", f"s{number}", labels={"rack": f"r{number % 2}"}) for number in range(4))


def waves(**keys: int) -> tuple[Simulation, Outcome, list[str]]:
    """The servers on which dynos start, in order, while the app moves to another release, one rack after the other."""
    fleet = Simulation(*(server.host for server in RACKS))
    assert fleet.apply(manifest(*RACKS, web=8)).code == OK
    started: list[str] = []
    fleet.fleet.watch.append(lambda what, server, _: started.append(server.host) if what == "started" else None)
    fleet.fault("sim alive dyno-shop-web-3", Kind.FAIL)  # asked at the end of the pause alone
    rollout = Rollout(by="rack", pause=60, max_parallel=2, **keys)
    return fleet, fleet.apply(manifest(*RACKS, web=8, slug="b", rollout=rollout)), started


@pytest.mark.parametrize("canary", [0, 1, 4])
def test_a_rack_moves_once_the_one_before_it_has_stayed_healthy(canary: int) -> None:
    fleet, outcome, started = waves(canary=canary, max_failures=1)
    assert outcome.code == ERROR, "the dyno that may fail"
    assert [int(host[1]) % 2 for host in started] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [event.text for event in outcome.events if event.kind == "note"] == ["wait 60 s before rack r1"]
    assert set(running(fleet).values()) == {"b"}


def test_the_plan_says_that_the_first_rack_has_fewer_dynos_than_the_canary() -> None:
    fleet = Simulation(*(server.host for server in RACKS))
    assert fleet.apply(manifest(*RACKS, web=8)).code == OK
    plan = fleet.plan(manifest(*RACKS, web=8, slug="b", rollout=Rollout(by="rack", canary=6))).plan
    words = (
        "the canary is 4 dynos, not 6 as rollout.canary says: the first wave, rack r0, has only 4 dynos that restart"
    )
    assert plan.canary and len(plan.batches[0]) == 4 and words in plan.notes


def test_a_dyno_that_fails_during_the_pause_stops_the_next_rack() -> None:
    fleet, outcome, started = waves()
    assert outcome.code == REJECTED and report(outcome).fully_reverted
    assert not {"s1", "s3"} & set(started) and set(running(fleet).values()) == {"a"}


def test_new_dynos_are_held_to_the_minimum_healthy_time() -> None:
    fleet = deployed(router=["s1"])
    fleet.fleet.late.add(digest("/b"))
    outcome = fleet.apply(manifest(web=4, slug="b", router=["s1"], rollout=HELD))
    assert outcome.code == REJECTED and sorted(report(outcome).reverted) == ["web.3", "web.4"]
    assert running(fleet) == BEFORE and set(upstreams(fleet["s1"])) == {"web.1", "web.2"}


def test_the_first_release_of_an_app_goes_back_too() -> None:
    fleet = Simulation("s1", "s2")
    fleet.fault("sim start", Kind.FAIL, nth=2)
    outcome = fleet.apply(manifest(router=["s1"]))
    assert outcome.code == REJECTED and running(fleet) == {} and upstreams(fleet["s1"]) == {}


def test_new_dynos_of_a_release_that_works_stay_where_one_of_them_fails() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.FAIL, nth=2)
    outcome = fleet.apply(manifest(web=5))
    assert outcome.code == ERROR and not report(outcome).reverted
    assert len(running(fleet)) == 4, "it is removed, and the others stay"
    assert fleet.apply(manifest(web=5)).code == OK


# Dynos that move, and a bad release.


@pytest.mark.parametrize("revert", [True, False])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_worker_runs_once_when_a_drain_and_a_release_fail_together(nth: int, revert: bool) -> None:
    fleet = deployed(worker=1, web=2)
    home = home_of(fleet, "worker.1")
    servers = [Server(name, name, drain=name == home) for name in ("s1", "s2")]
    fleet.fault("sim start", Kind.FAIL, nth=nth)
    outcome = fleet.apply(manifest(*servers, worker=1, slug="b", rollout=Rollout(auto_revert=revert)))
    assert outcome.code == (REJECTED if revert else ERROR)
    on = [host for host, server in fleet.fleet.servers.items() if "dyno-shop-worker-1" in server.processes]
    assert on == [home]
    assert not revert or running(fleet) == {**BEFORE, "worker.1": "a"}


# Schedules.


def test_the_variables_of_a_schedule_change_last_and_not_for_a_release_that_fails() -> None:
    fleet = deployed(schedule=True, env={"MODE": "good"})
    before = texts(fleet)
    fleet.fault("sim start", Kind.FAIL, nth=2)
    outcome = fleet.apply(manifest(schedule=True, env={"MODE": "bad"}))
    assert outcome.code == REJECTED and texts(fleet) == before


def _last(fleet: Simulation) -> tuple[int, str]:
    """The newest release that any server has a record of, and its result."""
    found = [
        json.loads(text)
        for server in fleet.fleet.servers.values()
        for path, text in server.files.items()
        if path.startswith(f"{STATE}/{APP}/releases/") and path.endswith(".json")
    ]
    newest = max(found, key=lambda entry: int(entry["number"]))
    return newest["number"], newest["result"]


def test_a_release_of_which_only_a_schedule_was_selected_is_not_proven() -> None:
    """It counted as successful, though no dyno ever ran it, and a failure of it was gone back to."""
    fleet = deployed(schedule=True)
    assert fleet.apply(manifest(slug="b", schedule=True), selection=Selection(("nightly",))).code == OK
    assert _last(fleet) == (2, "unfinished")
    assert set(running(fleet).values()) == {"a"}
    assert fleet.apply(manifest(slug="b", schedule=True)).code == OK
    assert _last(fleet) == (2, "ok") and set(running(fleet).values()) == {"b"}


@pytest.mark.parametrize("kind", [Kind.FAIL, Kind.HALF, Kind.HANG])
def test_a_schedule_that_cannot_change_takes_the_dynos_back(kind: Kind) -> None:
    fleet = deployed(schedule=True, env={"MODE": "good"}, router=["s1"])
    before = texts(fleet)
    fleet.fault("sim schedule", kind)
    outcome = fleet.apply(manifest(web=3, slug="b", schedule=True, env={"MODE": "bad"}, router=["s1"]))
    assert outcome.code == REJECTED and "nightly.1" in report(outcome).reverted
    assert running(fleet) == BEFORE and texts(fleet) == before
    assert sum(len(server.timers) for server in fleet.fleet.servers.values()) == 1


# Routers.


def test_a_router_does_not_change_for_a_release_that_fails() -> None:
    fleet = deployed(router=["s1"])
    before = texts(fleet)
    wanted = manifest(web=3, slug="b", router=["s1"])
    assert wanted.router is not None
    object.__setattr__(wanted.router, "hosts", ("shop.example.org",))
    fleet.fault("sim start", Kind.FAIL, nth=3)
    assert fleet.apply(wanted).code == REJECTED
    assert texts(fleet) == before
    assert fleet.apply(wanted).code == OK


# What goes back.


def test_a_dyno_that_was_down_is_reverted_though_it_stays_down() -> None:
    fleet = deployed()
    home = home_of(fleet, "web.1")
    fleet[home].stop("dyno-shop-web-1")
    fleet.fault("sim start dyno-shop-web-2", Kind.FAIL)
    fleet.fault("sim start dyno-shop-web-1", Kind.FAIL, nth=2)
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == REJECTED and not report(outcome).stranded
    assert set(report(outcome).reverted) == {"web.1", "web.2"}
    assert not [path for path in fleet[home].files if "/pending/" in path]


def test_a_dyno_that_was_damaged_is_reverted_though_it_cannot_start() -> None:
    fleet = deployed()
    home = home_of(fleet, "web.1")
    fleet[home].stop("dyno-shop-web-1")
    path = f"{UNITS}/dyno-shop-web-1.service"
    fleet[home].files[path] = fleet[home].files[path].replace(digest("/a"), "0" * 64)
    fleet[home].version += 1
    fleet.fault("sim start dyno-shop-web-2", Kind.FAIL)
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == REJECTED and not report(outcome).stranded
    assert slugs(fleet[home_of(fleet, "web.2")]) == {"web.2": "a"}


def test_a_dyno_that_was_up_and_does_not_come_back_is_said() -> None:
    fleet = deployed()
    fleet.fault("sim start dyno-shop-web-1", Kind.FAIL, nth=2)
    fleet.fault("sim start dyno-shop-web-2", Kind.FAIL)
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == ERROR and len(report(outcome).stranded) == 1


def test_dynos_that_a_killed_apply_moved_are_named_when_the_release_fails() -> None:
    """The next apply finds them as they should be, and has nothing to revert them to."""
    fleet = deployed()
    fleet.fault("keep", Kind.KILL_BEFORE, nth=2)
    assert fleet.apply(manifest(slug="b")).code == KILLED
    (moved,) = [dyno for dyno, slug in running(fleet).items() if slug == "b"]
    fleet.fault("sim start", Kind.FAIL)
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == ERROR
    assert report(outcome).stranded == [f"{moved} on {home_of(fleet, moved)}"] and len(report(outcome).reverted) == 1
    assert fleet.apply(manifest()).code == OK and running(fleet) == BEFORE


# What is left.


def test_a_release_that_is_rejected_leaves_nothing() -> None:
    fleet = deployed()
    before = texts(fleet)
    fleet.fleet.bad.add(digest("/bad"))
    outcome = fleet.apply(manifest(slug="bad"))
    assert report(outcome).rejected and texts(fleet) == before
    assert fleet.pending(manifest()) == [] and fleet.apply(manifest()).report is None
    assert not [path for path in fleet["s1"].files if path.endswith("releases/2.body")]


def test_a_slug_of_an_earlier_release_stays_though_a_rollback_to_it_fails() -> None:
    fleet = deployed()
    fleet.apply(manifest(slug="b"))
    slug = f"{STATE}/{APP}/slugs/{digest('/a')}.squashfs"
    fleet["s2"].remove(slug)
    fleet.fault("sim start", Kind.FAIL, nth=2)
    assert fleet.rollback(manifest(slug="b"), "v1", trust=frozenset({"s1"})).code == REJECTED
    assert slug in fleet["s2"].files and fleet.pending(manifest(slug="b")) == []


def test_a_server_that_lost_its_dynos_keeps_no_slug_of_a_release_that_failed() -> None:
    """The newest record had a dyno on it, which was taken for one that runs."""
    fleet = deployed()
    fleet["s2"].wipe()
    fleet.fleet.bad.add("MODE=broken")
    outcome = fleet.apply(manifest(env={"MODE": "broken"}))
    assert outcome.code == REJECTED and not fleet["s2"].processes
    assert not fleet["s2"].below(f"{STATE}/{APP}/slugs")
    assert fleet.apply(manifest()).code == OK and fleet.pending(manifest()) == []


def test_what_cannot_be_cleaned_up_is_said() -> None:
    fleet = deployed()
    fleet.fleet.bad.add(digest("/bad"))
    fleet.fault("sim remove /var/lib/dynoctl/shop/slugs", Kind.FAIL)
    outcome = fleet.apply(manifest(slug="bad"))
    assert outcome.code == REJECTED and any(failure.subject == "clean up" for failure in report(outcome).failures)
    assert fleet.apply(manifest()).code == OK and fleet.pending(manifest()) == []


def test_a_new_dyno_is_not_withdrawn_for_one_that_is_gone() -> None:
    """Without a revert, the one that moved was removed, as its old server still had it by the records."""
    fleet = deployed("s1", "s2", "s3")
    home, other = home_of(fleet, "web.1"), home_of(fleet, "web.2")
    fleet[home].wipe()
    servers = [Server(name, name, drain=name == home) for name in ("s1", "s2", "s3")]
    fleet.fault("sim start dyno-shop-web-2", Kind.FAIL)
    outcome = fleet.apply(manifest(*servers, slug="b", rollout=Rollout(auto_revert=False)))
    assert outcome.code == ERROR and report(outcome).halted
    assert "web.1" in running(fleet) and home_of(fleet, "web.1") != home and home_of(fleet, "web.2") == other


def test_records_of_dynos_that_are_gone_stop_no_release() -> None:
    """Nothing runs that the new release would run next to, so that the servers with room get it, as at first."""
    fleet = deployed()
    fleet.fault("sim sweep", Kind.HANG, host="s2")
    fleet.destroy(manifest())
    assert not running(fleet)
    fleet["s1"].full = True
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == ERROR and not report(outcome).rejected
    assert set(running(fleet).values()) == {"b"} and not fleet["s1"].processes


def test_ctrl_c_during_a_revert_finishes_it() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.FAIL, nth=2)

    def pressed(event: Event) -> bool:
        return event.kind == "done" and event.text == "reverted"

    assert fleet.apply(manifest(slug="b"), stop=pressed).code == REJECTED
    assert running(fleet) == BEFORE


# Servers that cannot take the release.


def squat(fleet: Simulation, dyno: str) -> None:
    """The dyno is down, and another program has its port."""
    server, unit = fleet[home_of(fleet, dyno)], f"dyno-{APP}-{dyno.replace('.', '-')}"
    server.listeners.add(server.processes[unit].port)
    server.stop(unit)


def fill(fleet: Simulation, host: str) -> None:
    fleet[host].full = True


def starve(fleet: Simulation, host: str) -> None:
    fleet[host].memory = 2**20


@pytest.mark.parametrize("trouble", [fill, starve])
def test_a_server_without_room_is_named_before_anything_changes(trouble: Callable[[Simulation, str], None]) -> None:
    fleet = deployed("s1", "s2", "s3", web=6)
    trouble(fleet, "s2")
    before = [dict(server.files) for server in fleet.fleet.servers.values()]
    outcome = fleet.apply(manifest("s1", "s2", "s3", web=6, slug="b"))
    assert outcome.code == ERROR and "s2: cannot take the release" in outcome.said
    assert "2 dynos" in outcome.said and not report(outcome).done
    assert set(running(fleet).values()) == {"a"}
    after = [dict(server.files) for server in fleet.fleet.servers.values()]
    for files in (*before, *after):
        files.pop(f"{STATE}/{APP}/audit.jsonl", None)
    assert after == before


def test_a_port_that_is_taken_is_named_before_anything_changes() -> None:
    fleet = deployed()
    squat(fleet, "web.1")
    outcome = fleet.apply(manifest(slug="b"))
    taken = next(one for one in report(outcome).failures if one.subject == "web.1")
    assert outcome.code == ERROR and taken.summary.endswith(": cannot start web.1: port 5000 is already in use")
    assert 'users:(("ruby",pid=7,fd=5))' in taken.detail.splitlines()[0]
    assert running(fleet) == {"web.2": "a"} and fleet.fleet.count


@pytest.mark.parametrize("trouble", [lambda fleet, _: squat(fleet, "web.2"), fill, starve])
@pytest.mark.parametrize("most", [2, "34%"])
def test_the_release_goes_on_without_the_dynos_that_may_fail(
    trouble: Callable[[Simulation, str], None], most: int | str
) -> None:
    fleet = deployed("s1", "s2", "s3", web=6, router=["s1"])
    home = home_of(fleet, "web.2")
    trouble(fleet, home)
    wanted = manifest("s1", "s2", "s3", web=6, slug="b", router=["s1"], rollout=Rollout(max_failures=most))
    outcome = fleet.apply(wanted)
    assert outcome.code == ERROR and report(outcome).stands
    assert {slug for host in {"s1", "s2", "s3"} - {home} for slug in slugs(fleet[host]).values()} == {"b"}
    fleet[home].full, fleet[home].memory = False, 2**30
    fleet[home].listeners.clear()
    assert fleet.apply(wanted).code == OK and set(running(fleet).values()) == {"b"}


def test_dynos_that_may_fail_halt_nothing_and_get_no_requests() -> None:
    fleet = deployed(web=4, router=["s1"])
    fleet.fault("sim start dyno-shop-web-2", Kind.HALF, cut=1)
    wanted = manifest(web=5, slug="b", router=["s1"], rollout=Rollout(max_failures=1))
    outcome = fleet.apply(wanted)
    assert outcome.code == ERROR and report(outcome).tolerated == ["web.2"] and report(outcome).stands
    assert running(fleet) == {"web.1": "b", "web.3": "b", "web.4": "b", "web.5": "b"}
    assert set(upstreams(fleet["s1"])) == {"web.1", "web.3", "web.4", "web.5"}
    record = json.loads(fleet["s1"].files[f"{STATE}/{APP}/releases/2.json"])
    assert record["result"] == "ok"
    assert fleet.apply(wanted).code == OK and set(running(fleet).values()) == {"b"}
    assert len(upstreams(fleet["s1"])) == 5


def test_one_dyno_too_many_reverts_all_of_them() -> None:
    fleet = deployed(web=4)
    fleet.fault("sim start dyno-shop-web-2", Kind.FAIL)
    fleet.fault("sim start dyno-shop-web-4", Kind.FAIL)
    outcome = fleet.apply(manifest(web=4, slug="b", rollout=Rollout(max_failures=1)))
    assert outcome.code == REJECTED and report(outcome).tolerated == [] and set(running(fleet).values()) == {"a"}


def test_a_new_dyno_that_may_fail_is_removed() -> None:
    fleet = deployed()
    fleet.fault("sim start dyno-shop-web-3", Kind.HALF, cut=2)
    outcome = fleet.apply(manifest(web=3, slug="b", rollout=Rollout(max_failures=1)))
    assert outcome.code == ERROR and not report(outcome).reverted and running(fleet) == {"web.1": "b", "web.2": "b"}


def test_a_candidate_may_fail_on_a_server_whose_dynos_may() -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet.fault("sim candidate", Kind.FAIL, host="s2")
    outcome = fleet.apply(manifest("s1", "s2", "s3", web=3, slug="b", rollout=Rollout(max_failures=1)))
    assert outcome.code == ERROR and sorted(running(fleet).values()) == ["a", "b", "b"]
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet.fleet.bad.add(digest("/b"))
    outcome = fleet.apply(manifest("s1", "s2", "s3", web=3, slug="b", rollout=Rollout(max_failures=3)))
    assert outcome.code == REJECTED and set(running(fleet).values()) == {"a"}, "it failed on every server"


WRITES = ("sim install", "record", "upload", "keep", "sim write")


@pytest.mark.parametrize(
    ("subject", "nth"), [*((subject, 1) for subject in WRITES), *(("record", nth) for nth in range(2, 8))]
)
def test_a_disk_that_is_full_in_any_phase_leaves_no_mixed_release(subject: str, nth: int) -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet["s2"].packages.clear()
    fleet["s2"].version += 1
    fleet.fault(subject, Kind.FULL, host="s2", nth=nth)
    outcome = fleet.apply(manifest("s1", "s2", "s3", web=3, slug="b"))
    assert set(running(fleet).values()) in ({"a"}, {"b"}) and (outcome.code == OK or "no space left" in outcome.said)
    assert fleet.apply(manifest("s1", "s2", "s3", web=3, slug="b")).code == OK


def test_a_repair_goes_on_without_the_dyno_whose_port_is_taken() -> None:
    fleet = deployed()
    squat(fleet, "web.1")
    fleet[home_of(fleet, "web.2")].stop("dyno-shop-web-2")
    outcome = fleet.apply(manifest())
    assert outcome.code == ERROR and running(fleet) == {"web.2": "a"}


@pytest.mark.parametrize("canary", [0, 1])
def test_a_disk_that_fills_at_any_moment_leaves_no_mixed_release(canary: int) -> None:
    began = 0
    for number in range(1 + canary, 90, 2):
        fleet = deployed("s1", "s2", web=4, router=["s1"], schedule=True)
        began = fleet.fleet.count
        fleet.fleet.faults[began + number] = Fault(Kind.FILL)
        wanted = manifest("s1", "s2", web=6, slug="b", router=["s1"], schedule=True, rollout=Rollout(canary=canary))
        outcome = fleet.apply(wanted)
        runs = set(running(fleet).values())
        assert runs in ({"a"}, {"b"}), f"{number}: {outcome.said} {running(fleet)}"
        assert runs == {"b"} or (len(running(fleet)) == 4 and not report(outcome).stranded), f"{number}: {outcome.said}"
        for server in fleet.fleet.servers.values():
            server.full = False
        assert fleet.apply(wanted).code == OK and len(running(fleet)) == 6, number
