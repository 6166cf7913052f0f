"""What the operator types and writes is heard: a message is kept, and a name that nothing can be done with is refused."""

from __future__ import annotations

import json

import pytest

from infra.errors import ERROR, OK
from infra.plan.selection import Selection
from tests.simulation.app import deployed, report, running
from tests.simulation.faults import Kind
from tests.simulation.harness import Simulation, manifest


def messages(fleet: Simulation, host: str = "s1") -> dict[int, str]:
    """The message of each release, as a server records it."""
    found = {path: text for path, text in files(fleet, host).items() if "/releases/" in path and path.endswith(".json")}
    return {json.loads(text)["number"]: json.loads(text)["message"] for text in found.values()}


def files(fleet: Simulation, host: str) -> dict[str, str]:
    return dict(fleet[host].files)


def test_the_message_of_a_release_that_is_gone_on_with_is_kept() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.KILL_HALF)
    fleet.apply(manifest(slug="b"))
    assert fleet.apply(manifest(slug="b"), message="second try").code == OK
    assert messages(fleet)[2] == "second try" == messages(fleet, "s2")[2]
    fleet.fault("sim start", Kind.KILL_HALF)
    fleet.apply(manifest(slug="c"), message="the reason")
    assert fleet.apply(manifest(slug="c")).code == OK
    assert messages(fleet)[3] == "the reason" == messages(fleet, "s2")[3]
    # What is no release of its own does not rename the one that runs; the history has it.
    assert fleet.apply(manifest(slug="c", web=3), message="more room").code == OK
    assert messages(fleet)[3] == "the reason"
    history = next(text for path, text in files(fleet, "s1").items() if path.endswith("audit.jsonl"))
    assert json.loads(history.splitlines()[-1])["message"] == "more room"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("nightly", "nightly.1 is a schedule"),
        ("night*", "nightly.1 is a schedule"),
        ("web.3", "web.3 is removed"),
        ("worker", "matches no dyno or process type"),
    ],
)
def test_a_dyno_that_cannot_be_replaced_is_named(pattern: str, says: str) -> None:
    fleet = deployed(web=3, schedule=True)
    outcome = fleet.apply(manifest(schedule=True), selection=Selection(replaces=(pattern,)))
    assert outcome.code == ERROR and says in outcome.said
    assert set(running(fleet)) >= {"web.1", "web.2", "web.3"}


def test_a_dyno_that_is_left_out_or_away_is_not_said_to_be_replaced() -> None:
    fleet = deployed(schedule=True)
    outcome = fleet.apply(manifest(schedule=True), selection=Selection(excludes=("web.1",), replaces=("web.1",)))
    assert outcome.code == ERROR and "is not restarted by --exclude web.1" in outcome.said
    for selection in (Selection(replaces=("*",)), Selection(replaces=("web", "web.2"))):
        outcome = fleet.apply(manifest(schedule=True), selection=selection)
        assert outcome.code == OK and {change.resource.dyno for change in report(outcome).done} == {"web.1", "web.2"}
    fleet["s2"].shut_down()
    outcome = fleet.apply(manifest(schedule=True), selection=Selection(replaces=("web.2",)))
    assert outcome.code == ERROR and "is on s2, which is unreachable" in outcome.said


def test_a_schedule_cannot_be_restarted() -> None:
    fleet = deployed(schedule=True)
    outcome = fleet.restart(manifest(schedule=True), "nightly")
    assert outcome.code == ERROR and "cannot restart nightly: nightly.1 is a schedule" in outcome.said
    assert fleet.restart(manifest(schedule=True), "web", "*").code == OK
