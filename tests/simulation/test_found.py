"""Faults of the engine that the simulated fleet found, each shrunk to the shortest life that shows it."""

from __future__ import annotations

from infra.errors import OK, REJECTED, UNREACHABLE
from infra.manifest.model import Server
from infra.plan.selection import Selection
from tests.simulation.app import running
from tests.simulation.driver import live
from tests.simulation.faults import Fault, Kind
from tests.simulation.harness import APP, KILLED, Simulation, manifest
from tests.simulation.invariants import upstreams
from tests.simulation.server import STATE, SimServer
from tests.simulation.wanted import Edit, Happen, Run

HOME = f"{STATE}/{APP}"


def files(server: SimServer, part: str) -> list[str]:
    return [path for path in server.files if part in path]


def test_a_server_that_only_routes_needs_no_ruby() -> None:
    """It got the router's package, and was then asked for the layers of dynos that it does not carry."""
    live([Edit("servers", ("s3", "s1")), Edit("router", ("s1",))])


def test_a_record_that_was_not_written_whole_leaves_nothing() -> None:
    """Each record had a temporary name of its own, which nobody looked for."""
    fleet = Simulation("s1")
    fleet.fault("record", Kind.REBOOT, cut=3)
    fleet.apply(manifest("s1"))
    assert files(fleet["s1"], "/new"), "the test is about a record that is not whole"
    assert fleet.apply(manifest("s1")).code == OK
    assert files(fleet["s1"], "new") == []


def test_a_revert_that_was_cut_off_leaves_no_half_file() -> None:
    fleet = Simulation("s1")
    fleet.apply(manifest("s1", web=1))
    fleet.fleet.bad.add("MODE=broken")
    fleet.fault("sim candidate", Kind.KILL_BEFORE)
    broken = manifest("s1", web=1, env={"MODE": "late"})
    fleet.apply(broken)
    fleet.fault("sim start", Kind.FAIL)
    fleet.fault("restore", Kind.REBOOT, cut=1)
    fleet.apply(broken)
    assert files(fleet["s1"], ".dynoctl-new")
    assert fleet.apply(manifest("s1", web=1)).code == OK
    assert files(fleet["s1"], ".dynoctl-new") == []


def test_a_removal_that_was_cut_off_leaves_no_record_of_what_is_gone() -> None:
    """The unit was gone and its config file not: the record of the unit stayed, as no change told of it any more."""
    fleet = Simulation("s1", "s2", "s3")
    fleet.apply(manifest("s1", "s2"))
    fleet.fault("sim remove /etc/dyno", Kind.FAIL, host="s2")
    fleet.apply(manifest("s1", "s3"))
    fleet.apply(manifest("s1", "s3", "s2"))
    assert fleet.pending(manifest("s1", "s3", "s2")) == []
    assert files(fleet["s2"], "applied/unit.") == []


def test_the_mark_of_a_dyno_that_never_came_goes() -> None:
    fleet = Simulation("s1", "s2")
    fleet.fault("sim write /etc/dyno", Kind.LOST_BEFORE, host="s2")
    fleet.apply(manifest())
    fleet["s2"].shut_down()
    fleet.apply(manifest("s1", "s2"), evacuate=frozenset({"s2"}))
    fleet["s2"].boot_up()
    assert fleet.apply(manifest()).code == OK
    assert files(fleet["s2"], "pending/") == []


def test_a_server_that_carried_nothing_takes_its_records_along() -> None:
    """It was never asked again once it had left the manifest, and kept the app's records for good."""
    fleet = Simulation("s1", "s2")
    fleet.apply(manifest("s1", "s2", web=1))
    spare = "s2" if fleet["s1"].processes else "s1"
    kept = "s1" if spare == "s2" else "s2"
    assert files(fleet[spare], HOME)
    fleet.apply(manifest(kept, web=1))
    assert files(fleet[spare], HOME) == []
    assert fleet.pending(manifest(kept, web=1)) == []


def test_a_server_that_leaves_is_known_until_its_records_are_gone() -> None:
    """The connection broke after its dynos were gone: the others forgot it, and its records stayed."""
    fleet = Simulation("s1", "s2", "s3")
    fleet.apply(manifest("s1", "s2"))
    fleet.fault("sim sweep shop stop", Kind.LOST_BEFORE)
    fleet.apply(manifest("s1", "s3"))
    assert files(fleet["s2"], HOME)
    assert fleet.apply(manifest("s1", "s3")).code == OK
    assert files(fleet["s2"], HOME) == []


def test_copies_to_go_back_to_do_not_outlive_an_apply_that_was_killed() -> None:
    """They hold the dyno's secrets. No change is due once the manifest is as it was, and they are taken away all the
    same."""
    fleet = Simulation()
    fleet.apply(manifest())
    fleet.fault("keep", Kind.KILL_AFTER)
    assert fleet.apply(manifest(slug="b")).code == KILLED
    assert [file for name in ("s1", "s2") for file in files(fleet[name], "/undo/")]
    assert fleet.apply(manifest()).code == OK
    assert [file for name in ("s1", "s2") for file in files(fleet[name], "/undo/")] == []


def test_a_candidate_does_not_outlive_its_apply() -> None:
    """The apply was killed, and no change was due afterwards that would have swept it."""
    fleet = Simulation()
    fleet.apply(manifest())
    fleet.fault("sim candidate", Kind.KILL_HALF)
    assert fleet.apply(manifest(), selection=Selection(replaces=("web",))).code == KILLED
    fleet.fleet.clock.advance(3600)
    assert fleet.apply(manifest()).code == OK
    assert not fleet["s1"].one_offs and not fleet["s2"].one_offs


def test_a_full_disk_is_not_a_release_that_does_not_answer() -> None:
    fleet = Simulation("s1")
    fleet.apply(manifest("s1"))
    fleet.fault("record", Kind.FULL, nth=2)
    outcome = fleet.apply(manifest("s1", slug="b"))
    assert outcome.report is not None
    assert not outcome.report.rejected
    assert "no space left" in outcome.said


def test_one_apply_is_enough_where_the_first_dyno_moves_to_a_release_that_ended() -> None:
    """That a dyno had moved was written only where it moved, so that the servers' records differed."""
    fleet = Simulation()
    fleet.fault("sim seal", Kind.OFF, host="s2")
    fleet.apply(manifest())
    fleet.apply(manifest(schedule=True))
    fleet.apply(manifest())
    fleet["s2"].boot_up()
    assert fleet.apply(manifest()).code == OK
    assert fleet.pending(manifest()) == []


def test_a_router_goes_before_the_dynos_that_it_leads_to() -> None:
    fleet = Simulation("s1", "s2", "s3")
    fleet.apply(manifest("s1", "s2", router=["s1"]))
    assert set(upstreams(fleet["s1"])) == {"web.1", "web.2"}
    fleet.apply(manifest("s2", "s3"))
    trace = [subject for _, _, subject in fleet.fleet.trace]
    stopped = next(number for number, subject in enumerate(trace) if subject.startswith("sim stop"))
    assert trace.index("sim unroute shop") < stopped


def test_a_release_that_is_reverted_runs_on_no_new_dyno_either() -> None:
    """web.1 was new, came up and stayed with the release that web.2 went back from."""
    fleet = Simulation("s1", "s2")
    fleet.apply(manifest())
    home = next(name for name in ("s1", "s2") if "dyno-shop-web-1" in fleet[name].processes)
    fleet.fleet.rebuild(home)
    fleet.fault("sim start dyno-shop-web-2", Kind.FAIL)
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == REJECTED
    assert outcome.report is not None and set(outcome.report.reverted) == {"web.1", "web.2"}
    assert not fleet[home].processes
    assert fleet.apply(manifest()).code == OK


def test_a_schedule_is_not_moved_for_a_release_that_fails() -> None:
    """It went to its new server with the new release before any dyno had shown that the release works."""
    fleet = Simulation("s1", "s2", "s3")
    before = manifest("s1", "s2", schedule=True)
    fleet.apply(before)
    home = next(name for name in ("s1", "s2") if fleet[name].timers)
    servers = [Server(name, name, drain=name == home) for name in ("s1", "s2", "s3")]
    fleet.fault("sim start", Kind.FAIL, nth=2)
    outcome = fleet.apply(manifest(*servers, slug="b", schedule=True))
    assert outcome.code != OK
    assert fleet[home].timers == {"dyno-shop-nightly-1"}
    assert fleet.apply(before).code == OK


def test_a_router_leads_to_a_dyno_that_ran_twice() -> None:
    """Both copies came back after a split; the one that stayed was left out of the router, as nothing changed of it."""
    live([Run("apply"), Happen("rename", "s1"), Happen("off", "s2"), Edit("router", ("s1", "s3")), Run("apply")])


def test_a_candidate_that_still_runs_is_stopped() -> None:
    """The next apply came before the candidate had ended: it left it, and nobody looked for it again."""
    fleet = Simulation()
    fleet.apply(manifest())
    fleet.fault("sim candidate", Kind.KILL_HALF)
    assert fleet.apply(manifest(), selection=Selection(replaces=("web",))).code == KILLED
    assert fleet.apply(manifest()).code == OK
    assert not fleet["s1"].one_offs and not fleet["s2"].one_offs
    assert fleet.pending(manifest()) == []


def test_a_spare_whose_name_another_server_got_is_cleaned() -> None:
    """It was taken for the server that has its name now, and stayed a spare that nobody asked."""
    live([Edit("web", 1), Run("apply"), Happen("rename", "s3"), Run("apply"), Run("apply")])


def test_a_router_that_goes_comes_with_the_dynos_that_are_selected() -> None:
    """Its removal was left out, and it went on leading to a dyno that had moved."""
    fleet = Simulation("s1", "s2", "s3")
    fleet.apply(manifest("s1", "s2", router=["s2"]))
    fleet.apply(manifest("s2", "s3"), selection=Selection(targets=("web",)))
    assert upstreams(fleet["s2"]) == {}


def test_a_spare_that_could_not_be_cleaned_is_cleaned_later() -> None:
    """The connection broke while its records were removed, and the record of the next apply did not know it."""
    fleet = Simulation("s1", "s2", "s3")
    fleet.apply(manifest("s1", "s2", web=1))
    spare = "s2" if fleet["s1"].processes else "s1"
    kept = "s1" if spare == "s2" else "s2"
    fleet.fault("sim sweep shop stop", Kind.LOST_BEFORE, host=spare)
    fleet.apply(manifest(kept, web=1))
    assert files(fleet[spare], HOME)
    fleet.apply(manifest(kept, web=2))
    assert files(fleet[spare], HOME) == []


def test_nobody_waits_for_a_release_command_on_a_machine_that_was_replaced() -> None:
    """Every apply was refused, with the hint to bring a server back that answers."""
    fleet = Simulation()
    wanted = manifest(release_command="migrate")
    fleet.fault("sim run-release", Kind.OFF)
    fleet.apply(wanted)
    on = next(host for host in ("s1", "s2") if not fleet[host].powered)
    fleet.fleet.rebuild(on)
    assert fleet.apply(wanted).code == OK


def test_a_web_dyno_stays_while_nobody_knows_whether_its_new_server_runs_it() -> None:
    """Its new server went off during the move. The router led to its old one, from which it was taken away."""
    for number in range(10, 25):
        away = Run("apply", faults=((number, Fault(Kind.OFF, 0)),))
        live([Edit("router", ("s1",)), Run("apply"), Edit("drains", ("s1",)), away, Run("apply")])


def test_a_rollback_to_what_runs_already_holds_nothing_back() -> None:
    """Release 3 runs the same as release 1, so that the rollback to that only finishes it."""
    half = Run("replace", faults=((6, Fault(Kind.HALF, 3)),), names=("web",))
    begun = [Edit("servers", ("s1", "s2", "s3")), Run("apply"), Edit("schedule", True), half]
    live([*begun, Run("rollback"), Happen("crash", "s3"), Run("apply")])


def test_the_slug_of_an_earlier_release_that_was_sent_again_stays() -> None:
    """No server had it any more, as the one with the dynos of that release was installed anew."""
    begun = [Edit("servers", ("s1", "s2", "s3")), Run("apply"), Edit("servers", ("s1", "s2"))]
    moved = [Happen("rebuild", "s2"), Edit("slug", "partly"), Run("apply")]
    live([*begun, *moved, Edit("mode", "broken"), Edit("slug", "a"), Run("apply")])


def test_a_server_without_dynos_keeps_no_slug_though_records_have_some_on_it() -> None:
    """A destroy was cut off on the other server, whose records had dynos on both."""
    begun = [Run("apply"), Run("destroy", faults=((24, Fault(Kind.HANG, 1)),)), Edit("schedule", True)]
    live([*begun, Run("apply", faults=((39, Fault(Kind.FULL, 3)),))])


def test_a_name_that_another_machine_got_does_not_tell_whose_address_is_wrong() -> None:
    """The names went to other machines, and s1 has a wrong address now. It was taken for the machine that had that name
    and was away, so that the one that it is lost its dyno."""
    begun = [Run("apply"), Happen("rename", "s2"), Happen("mistype", "s2")]
    live([*begun, Run("replace", faults=((4, Fault(Kind.LOST_AFTER, 1)),), names=("web.1",))])


def test_a_dyno_that_was_down_may_come_up_with_what_it_ran_last() -> None:
    """The release that failed runs the same on it, and differs only in the workers."""
    begun = [Run("apply"), Edit("worker", 2), Happen("crash", "s1")]
    live([*begun, Run("apply", faults=((25, Fault(Kind.FILL, 3)),))])


def test_two_servers_with_another_address_each_are_not_taken_for_one() -> None:
    """Their addresses were the same, so that a router to one of them seemed to lead to the other one."""
    detours = [Happen("detour", "s1"), Edit("router", ("s1", "s3")), Happen("detour", "s3")]
    live([Run("apply"), *detours, Happen("rename", "s3")])


def test_a_server_is_not_forgotten_by_an_apply_that_saw_none_of_its_records() -> None:
    """The record of that apply had the serial of the first one, and was taken for the whole: a dyno ran twice."""
    fleet = Simulation("s1", "s2", "s3")
    assert fleet.apply(manifest("s1", "s2", web=2)).code == OK
    fleet.hint.clear()  # another computer
    fleet["s2"].connected = False
    assert fleet.apply(manifest("s2", "s3", web=2)).code == UNREACHABLE
    fleet["s2"].connected = True
    for _ in range(2):
        fleet.apply(manifest("s2", "s3", web=2), trust=frozenset({"s2"}))
    assert not fleet["s1"].processes and sorted(running(fleet)) == ["web.1", "web.2"]
