"""A rebalance converges in one apply, moves what it says and nothing else, and an apply never moves a dyno back."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from infra.errors import ERROR, OK
from infra.manifest.model import Manifest, Server
from infra.model import naming
from infra.model.ranges import ranges
from tests.simulation.app import deployed
from tests.simulation.as_running import act
from tests.simulation.harness import Simulation, manifest

HOSTS = ("s1", "s2", "s3", "s4")


def homes(fleet: Simulation) -> dict[str, str]:
    """Where each dyno runs. Fails if one runs twice."""
    found = [(process.dyno, host) for host in HOSTS for process in fleet[host].processes.values()]
    assert len(dict(found)) == len(found), f"a dyno runs twice: {sorted(found)}"
    return dict(found)


def wished(chance: random.Random) -> Manifest:
    """Servers with labels, and types and schedules that ask for some of them."""
    labels = {host: {"disk": chance.choice(("ssd", "hdd")), "rack": chance.choice("ab")} for host in HOSTS}
    servers = [Server(host, host, labels=labels[host]) for host in HOSTS]
    made = manifest(*servers, web=chance.randint(1, 9), worker=chance.randint(1, 5), schedule=chance.random() < 0.5)
    asked = {key: value for key, value in labels[chance.choice(HOSTS)].items() if chance.random() < 0.4}
    return replace(
        made,
        dynos={**made.dynos, "worker": replace(made.dynos["worker"], labels=asked, cpu=chance.choice((100, 250, 500)))},
        schedule=tuple(replace(one, cpu=chance.choice((0, 50))) for one in made.schedule),
        per_core=chance.choice((1000, 2000)),
        spread=chance.choice((None, "rack")),
    )


@pytest.mark.parametrize("seed", range(30))
def test_any_fleet(seed: int) -> None:
    chance = random.Random(seed)
    tree = wished(chance)
    fleet = Simulation(*HOSTS, cores=chance.choice((2, 4)))
    if fleet.apply(tree).code != OK:
        return  # no capacity on servers with the labels
    lost = chance.choice(HOSTS)
    fleet[lost].shut_down()
    if fleet.apply(tree, evacuate=frozenset({lost})).code == ERROR:
        return
    fleet[lost].boot_up()
    assert fleet.apply(tree).code == OK
    before = homes(fleet)
    assert fleet.pending(tree) == [], "an apply moves nothing to a server that came back"
    outcome = act(fleet, tree, rebalance=True)
    assert outcome.code == OK and outcome.plan is not None, outcome.said
    after = homes(fleet)
    assert after.items() <= outcome.plan.formation.homes.items()
    moved = {dyno for dyno in before if after[dyno] != before[dyno]}
    assert {change.resource.dyno for change in outcome.plan.changes if change.resource.dyno} >= moved
    for way in {(before[dyno], after[dyno]) for dyno in moved}:
        dynos = sorted((dyno for dyno in moved if (before[dyno], after[dyno]) == way), key=naming.dyno_order)
        said = f"{ranges(dynos)} {'move' if dynos[1:] else 'moves'} to {way[1]}"
        assert any(f"from {way[0]}: " in note and said in note for note in outcome.plan.notes)
    again = act(fleet, tree, rebalance=True)
    assert again.code == OK and again.plan is not None and again.plan.changes == ()
    assert fleet.pending(tree) == [] and homes(fleet) == after
    labels = {server.name: server.labels for server in tree.servers}
    for dyno, host in after.items():
        asked = tree.types[dyno.partition(".")[0]].labels
        assert asked.items() <= labels[host].items(), f"{dyno} on {host}"


def test_a_rebalance_leaves_out_what_is_edited_and_restarts_nothing() -> None:
    fleet = deployed("s1", "s2", web=6)
    fleet.fleet.add("s3", cores=4)
    outcome = act(fleet, manifest("s1", "s2", "s3", web=8, slug="b"), rebalance=True)
    assert outcome.code == OK and outcome.plan is not None, outcome.said
    counts = outcome.plan.counts()
    assert (counts["start"], counts["stop"], counts["restart"]) == (2, 2, 0)
    assert (
        "left out, as v1 runs on: the source; dynos.web; servers.s3; to include it: --with-changes"
        in outcome.plan.notes
    )
    assert [len(fleet[host].processes) for host in ("s1", "s2", "s3")] == [2, 2, 2]


def test_a_rebalance_that_fails_leaves_every_dyno_up_and_can_be_repeated() -> None:
    fleet = deployed("s1", "s2", web=6)
    fleet.fleet.add("s3", cores=4)
    tree = manifest("s1", "s2", "s3", web=6)
    before = {process.dyno for host in ("s1", "s2") for process in fleet[host].processes.values()}
    outcome = act(fleet, tree, rebalance=True)
    assert outcome.code == OK
    fleet["s3"].shut_down()
    away = act(fleet, tree, rebalance=True)
    assert away.plan is not None and away.plan.changes == (), "what is on an unreachable server is not moved"
    fleet["s3"].boot_up()
    assert act(fleet, tree, rebalance=True).code == OK
    assert {process.dyno for host in ("s1", "s2", "s3") for process in fleet[host].processes.values()} == before


@pytest.mark.parametrize("seed", range(8))
def test_with_a_server_unreachable_one_apply_and_one_rebalance_settle(seed: int) -> None:
    """Also if there is not enough room for what is wanted."""
    chance = random.Random(seed)
    tree = wished(chance)
    fleet = Simulation(*HOSTS, cores=chance.choice((1, 2, 4)))
    if fleet.apply(tree).code != OK:
        return
    fleet[chance.choice(HOSTS)].shut_down()
    dynos = {
        name: replace(type_, count=type_.count + chance.choice((0, 1, 3)), cpu=chance.choice((type_.cpu, 500)))
        for name, type_ in tree.dynos.items()
    }
    more = replace(tree, dynos=dynos, digest="more")
    assert fleet.apply(more).code != ERROR
    assert fleet.pending(more) == []
    assert act(fleet, more, rebalance=True).code != ERROR
    again = act(fleet, more, rebalance=True)
    assert again.plan is not None and again.plan.changes == ()
