"""A dyno restarts if anything that it runs with changes, whatever else changes with it; and stays up if nothing does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.fleet.facts import Facts
from infra.fleet.observe import Observed
from infra.model.provider import Scope
from infra.model.resource import Action, Attributes, Change, Effect, Found, Resource
from infra.plan.diff import INTERRUPTED, diff
from infra.registry import Everything
from infra.views import page_changes, plan_screen
from infra.views.style import Style
from providers import socket, user
from tests.unit.test_plan_views import released

PROVIDERS = {provider.kind: provider for provider in Everything.providers}
SCOPE = Scope("shop", "")
USER = Resource("grid-1", "user", "shop-web.1", user.desired("shop", "web.1"), "web.1")
SOCKET = Resource("grid-1", "socket", "shop-web.1", socket.desired("shop", "web.1", "10.0.0.11", 5000), "web.1")
WANTED: Attributes = {
    "unit": {},
    "ready": {"Service.TimeoutStartSec": "60"},
    "enabled": True,
    "cpu": "25%",
    "state": "running",
}
UNIT = Resource("grid-1", "unit", "shop-web.1", WANTED, "web.1", (USER.key, SOCKET.key))
WELL = {resource.key: Found(resource.attributes) for resource in (USER, SOCKET, UNIT)}
LIVE: dict[str, Attributes] = {
    "enabled": {"enabled": False},
    "cpu": {"cpu": "50%"},
    "ready": {"ready": {"Service.TimeoutStartSec": "90"}},
}
"""What a running dyno takes over without a restart."""


def changes(found: dict[str, Found], *, pending: bool = False, requested: bool = False) -> dict[str, Change]:
    facts = Facts(
        machine_id="m1",
        hostname="grid-1",
        address="10.0.0.11",
        cores=2,
        systemd=252,
        squashfs=True,
        ruby="3.1.2",
        missing=frozenset(),
        ports=frozenset(),
        marks=(),
        pending=frozenset({"web.1"} if pending else ()),
    )
    again = [Change(UNIT, Action.RESTART, WANTED, WANTED, "requested with --replace")] if requested else []
    made, errors = diff("grid-1", [USER, SOCKET, UNIT], Observed(facts, found), PROVIDERS, (), lambda *_: again)
    assert not errors
    return {change.resource.kind: change for change in made}


def labels(change: Change) -> list[str]:
    return [command.label for command in PROVIDERS[change.resource.kind].steps(SCOPE, change)]


@pytest.mark.parametrize("own", LIVE)
def test_what_needs_no_restart_does_not_hide_what_does(own: str) -> None:
    """A new health check together with a new config var was recorded as done, and the var reached no process."""
    found = {**WELL, UNIT.key: Found({**WANTED, **LIVE[own]})}
    (alone,) = changes(found).values()
    assert (alone.action, alone.effect, alone.reason) == ("update", None, "")
    assert "restart web.1" not in labels(alone)
    without_user = {key: one for key, one in found.items() if key != USER.key}
    for change, why in (
        (changes(without_user)["unit"], "user.shop-web.1 changes"),
        (changes(found, pending=True)["unit"], INTERRUPTED),
        (changes(found, requested=True)["unit"], "requested with --replace"),
    ):
        assert (change.action, change.effect, change.reason) == ("update", "restart", why)
        assert labels(change)[-1] == "restart web.1"
        written = [label for label in labels(alone) if label.split()[0] in ("write", "enable")]
        assert written and set(written) < set(labels(change))


def test_a_change_that_restarts_the_dyno_anyway_says_only_what_it_is() -> None:
    found = {SOCKET.key: WELL[SOCKET.key], UNIT.key: Found({**WANTED, "unit": {"Service.User": "x"}})}
    assert (changes(found)["unit"].effect, changes(found)["unit"].reason) == ("restart", "")


def test_a_socket_that_listens_is_enabled_without_a_restart() -> None:
    """``systemctl disable`` of a dyno's socket and service: the apply that enabled them stopped the dyno."""
    disabled = Found({**SOCKET.attributes, "enabled": False})
    (change,) = changes({**WELL, SOCKET.key: disabled}).values()
    assert "enable dyno-shop-web-1.socket" in labels(change)
    assert not any("open" in label for label in labels(change))
    assert [command.argv[1] for command in socket.Socket().undo(SCOPE, change)] == ["daemon-reload"]
    both = changes({**WELL, SOCKET.key: disabled, UNIT.key: Found({**WANTED, "enabled": False})})
    assert both["unit"].effect is None


@pytest.mark.parametrize("other", [{"state": "stopped"}, {"drop_ins": ("x.conf",)}, {"unit": {"Socket.Backlog": "1"}}])
def test_a_socket_that_is_opened_anew_restarts_its_dyno(other: Attributes) -> None:
    found = {
        **WELL,
        SOCKET.key: Found({**SOCKET.attributes, "enabled": False, **other}),
        UNIT.key: Found({**WANTED, "enabled": False}),
    }
    made = changes(found)
    assert labels(made["socket"])[-1] == "open dyno-shop-web-1.socket"
    assert (made["unit"].effect, made["unit"].reason) == ("restart", "socket.shop-web.1 changes")
    assert labels(made["unit"])[-1] == "restart web.1"


def test_restarts_for_the_same_reasons_are_one_line_of_a_plan() -> None:
    """Of two causes, the first had the name of its dyno, so that each of a thousand dynos had a line."""
    again = []
    for number in (1, 2, 3):
        name = f"shop-web.{number}"
        resource = replace(UNIT, server=f"grid-{number}", name=name, dyno=f"web.{number}")
        why = f"user.{name}, socket.{name} change; web.{number}: state is crashing"
        again.append(Change(resource, Action.RESTART, WANTED, WANTED, why, effect=Effect.RESTART))
    shown = plan_screen.folded(replace(released(), changes=tuple(again)), Everything().briefs(), Style(False))
    assert shown == ["↻ unit of web.[1-3]  # user, socket change; state is crashing"]
    (same,) = page_changes.groups(replace(released(), changes=tuple(again)), Everything().briefs())
    assert len(same.members) == 3
