"""Resource types with the traits of the real ones, each in a few lines: what the engine must handle, and no more."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from infra.model import naming
from infra.model.provider import Fragment, Scope
from infra.model.resource import Action, Attributes, Change, Command, Effect, Fingerprint, Found, fingerprint
from infra.sensitive import Sensitive
from providers.base import Base
from tests.simulation.server import STATE, UNITS

SEEN = 4096
"""Answers of servers whose parsed form is kept: most are the same as the time before."""


def sim(*words: str, stdin: str | None = None, **keys: Any) -> Command:
    """A command that ``tests.simulation.programs`` describes."""
    return Command(("sim", *words), stdin=None if stdin is None else stdin.encode(), **keys)


@lru_cache(SEEN)
def lines(output: str) -> dict[str, Any]:
    """What a section holds: a JSON value by name."""
    found = {}
    for line in output.splitlines():
        name, _, text = line.partition(" ")
        found[name] = json.loads(text)
    return found


def dynos(output: str) -> dict[str, Found]:
    """Units and schedules, with what stands in the way of one."""
    found = {}
    for dyno, attributes in lines(output).items():
        if "foreign" in attributes:
            found[dyno] = Found({}, foreign=True)
        elif "blocked" in attributes:
            found[dyno] = Found({}, blocked=attributes["blocked"])
        else:
            found[dyno] = Found(attributes)
    return found


class Package(Base):
    """Made before anything else, and never removed."""

    kind = "package"
    first = True

    def observe(self, scope: Scope) -> Fragment:
        return Fragment("sim package", {"app": " ".join((*scope.packages, scope.router))})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        return {name: Found({"installed": True}, kept=True) for name in lines(output)}

    def triggers(self, change: Change) -> bool:
        return False

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        return {}

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        return [sim("install", change.resource.name, label=f"install {change.resource.name}")]


class Upgrade(Base):
    """What a package needs before it can be installed."""

    kind = "package_upgrade"
    first = True

    def observe(self, scope: Scope) -> Fragment:
        return Fragment("sim package", {"app": ""})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        return {}

    def triggers(self, change: Change) -> bool:
        return False

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        return [sim("upgrade", change.resource.name, label=f"upgrade {change.resource.name}")]


class Slug(Base):
    """A release's files: sent once, and kept for rollbacks."""

    kind = "slug"

    def observe(self, scope: Scope) -> Fragment:
        return Fragment("sim slug", {"app": scope.app})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        return {
            slug_name(scope.app, digest): Found({"digest": digest}, damaged=not whole)
            for digest, whole in lines(output).items()
        }

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = slug_path(scope.app, str((change.after or change.before or {})["digest"]))
        return [sim("remove", path) if change.after is None else sim("seal", path)]


class Leftover(Base):
    """Temporary files of an apply that was cut off."""

    kind = "leftover"

    def observe(self, scope: Scope) -> Fragment:
        return Fragment("sim leftover", {"app": scope.app})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        return {path: Found({"path": path}) for path in lines(output)}

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        return [sim("remove", change.resource.name)]


class Config(Base):
    """A file for each dyno; the dyno restarts where it changes."""

    kind = "config"

    def observe(self, scope: Scope) -> Fragment:
        return Fragment("sim config", {"app": scope.app})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        """As the real one: a file that is as wanted is known by its text, and of others only digests leave the server."""
        values = lines(output)
        salt = values.get("salt") or scope.salt
        found = {}
        for dyno, variables in values.get("files", {}).items():
            wanted = scope.environments.get(naming.parse_dyno(dyno)[0])
            if wanted is not None and config_text(wanted) == config_text(variables):
                found[f"{scope.app}-{dyno}"] = Found({"variables": dict(wanted)})
                continue
            hidden = {key: Fingerprint(salt, fingerprint(salt, value), str) for key, value in variables.items()}
            found[f"{scope.app}-{dyno}"] = Found({"variables": hidden})
        return found

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        variables: Any = attributes["variables"]
        return {"variables": {key: fingerprint(salt, plain(value)) for key, value in variables.items()}}

    def triggers(self, change: Change) -> bool:
        return change.before is None or "variables" in change.differing()

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        return (config_path(scope.app, str(change.resource.dyno)),)

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = config_path(scope.app, str(change.resource.dyno))
        if change.after is None:
            return [sim("remove", path)]
        return [sim("write", path, stdin=config_text(change.after["variables"]))]


class Unit(Base):
    """What runs a dyno."""

    kind = "unit"

    def observe(self, scope: Scope) -> Fragment:
        return Fragment("sim unit", {"app": scope.app})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        return {f"{scope.app}-{dyno}": found for dyno, found in dynos(output).items()}

    def spontaneous(self, found: Attributes) -> Collection[str]:
        """On a simulated server nobody stops a dyno by hand: it dies."""
        return ("state",)

    def effect(self, change: Change) -> Effect | None:
        if change.after is None:
            return Effect.STOP
        running = change.before is not None and change.before.get("state") in ("running", "not answering")
        if change.action is not Action.RESTART and running and set(change.differing()) <= {"enabled"}:
            return None
        return Effect.RESTART if running else Effect.START

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        dyno = str(change.resource.dyno)
        unit = naming.user_name(scope.app, dyno)
        if change.after is None:
            return [sim("stop", unit, label=f"stop {dyno}"), sim("remove", unit_path(unit))]
        commands = []
        if change.action is not Action.RESTART:
            commands = [sim("write", unit_path(unit), stdin=unit_text(change.after["unit"])), sim("enable", unit)]
        effect = self.effect(change)
        if effect is not None:
            commands.append(sim("start", unit, effect, label=f"{effect} {dyno}", health=True, timeout=120))
        return commands

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        return (unit_path(naming.user_name(scope.app, str(change.resource.dyno))),)

    def free(self, scope: Scope, change: Change) -> Command | None:
        return None if not change.resource.port else sim("free", str(change.resource.port), quiet=True)

    def undo(self, scope: Scope, change: Change) -> Sequence[Command]:
        unit = naming.user_name(scope.app, str(change.resource.dyno))
        return [sim("start", unit, "restart", label=f"restart {change.resource.dyno} as it was", timeout=120)]

    def alive(self, scope: Scope, change: Change) -> Command | None:
        unit = naming.user_name(scope.app, str(change.resource.dyno))
        return None if change.after is None else sim("alive", unit, health=True)

    def explain(self, scope: Scope, change: Change) -> Command | None:
        return sim("journal", naming.user_name(scope.app, str(change.resource.dyno)))


class Schedule(Base):
    """Runs on one server at a time: it goes before it comes elsewhere."""

    kind = "schedule"
    alone = True

    def observe(self, scope: Scope) -> Fragment:
        return Fragment("sim schedule", {"app": scope.app})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        return {f"{scope.app}-{dyno}": found for dyno, found in dynos(output).items()}

    def triggers(self, change: Change) -> bool:
        return False

    def dormant(self, attributes: Attributes) -> bool:
        return attributes.get("state") in ("stopped", "paused")

    def rehearse(self, scope: Scope, change: Change) -> Sequence[Command]:
        return [sim("rehearse", naming.user_name(scope.app, str(change.resource.dyno)))]

    def pause(self, scope: Scope, change: Change) -> Sequence[Command]:
        unit = naming.user_name(scope.app, str(change.resource.dyno))
        return [sim("pause", unit, scope.app, calendar(change.before), timeout=150)]

    def resume(self, scope: Scope, change: Change) -> Sequence[Command]:
        unit = naming.user_name(scope.app, str(change.resource.dyno))
        moment, _, told = scope.handed.get(str(change.resource.dyno), "").partition(" ")
        return [sim("schedule", unit, moment if told == calendar(change.before) else "", scope.app)]

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        dyno, before = str(change.resource.dyno), change.before or {}
        unit = naming.user_name(scope.app, dyno)
        if change.after is None:
            return [sim("unschedule", unit, scope.app, timeout=150), sim("remove", unit_path(unit))]
        moment, _, told = scope.handed.get(dyno, "").partition(" ")
        same = calendar(before) == calendar(change.after)
        since = "" if same and before.get("state") in ("waiting", "paused") else "now"
        if dyno in scope.handed:
            since = moment if told == calendar(change.after) else "now"
        text = unit_text(change.after["unit"])
        return [sim("write", unit_path(unit), stdin=text), sim("schedule", unit, since, scope.app)]

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        return (unit_path(naming.user_name(scope.app, str(change.resource.dyno))),)

    def undo(self, scope: Scope, change: Change) -> Sequence[Command]:
        unit = naming.user_name(scope.app, str(change.resource.dyno))
        if (change.before or {}).get("state") in ("waiting", "paused"):
            return [sim("schedule", unit, "", scope.app)]
        return [sim("unschedule", unit, scope.app)]


def calendar(attributes: Attributes | None) -> str:
    settings: Any = (attributes or {}).get("unit", {})
    return str(settings.get("Timer.OnCalendar", ""))


class Router(Base):
    """Leads to dynos: made when those that come are there, and before others go."""

    kind = "router"
    last = True

    def observe(self, scope: Scope) -> Fragment:
        return Fragment("sim router", {"app": scope.app})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        found = {}
        for app, mark in lines(output).items():
            attributes = {"hosts": tuple(mark["hosts"]), "upstreams": mark["upstreams"], "state": mark["state"]}
            found[app] = Found(attributes)
        return found

    def triggers(self, change: Change) -> bool:
        return False

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        if change.after is None:
            return [sim("unroute", scope.app)]
        mark = {
            "app": scope.app,
            "kind": "sim",
            "hosts": change.after["hosts"],
            "ports": {"80": "plain"},
            "upstreams": change.after["upstreams"],
        }
        return [sim("route", scope.app, stdin=json.dumps(mark))]

    def among(self, change: Change, dynos: Mapping[str, str | None]) -> Change:
        if change.after is None:
            return change
        upstreams: dict[str, str] = {**change.after["upstreams"]}  # type: ignore[dict-item]
        for dyno, where in dynos.items():
            if where is None:
                upstreams.pop(dyno, None)
            else:
                upstreams[dyno] = where
        return Change(**{**change.__dict__, "after": {**change.after, "upstreams": upstreams}})

    def upstreams(self, change: Change) -> Mapping[str, str]:
        return (change.before or {}).get("upstreams", {})  # type: ignore[return-value]


def slug_name(app: str, digest: str) -> str:
    return f"{app}@{digest[:12]}"


def slug_path(app: str, digest: str) -> str:
    return f"{STATE}/{app}/slugs/{digest}.squashfs"


def config_path(app: str, dyno: str) -> str:
    return f"/etc/dyno/{app}/{dyno}.env"


def config_text(variables: Any) -> str:
    return "".join(f"{name}={plain(value)}\n" for name, value in sorted(variables.items()))


def plain(value: Any) -> str:
    return value.reveal() if isinstance(value, Sensitive) else str(value)


def unit_path(unit: str) -> str:
    return f"{UNITS}/{unit}.service"


KEYS = {
    f"Unit.{naming.APP}": "app",
    f"Unit.{naming.DYNO}": "dyno",
    f"Unit.{naming.PORT}": "port",
    f"Unit.{naming.CPU}": "cpu",
    "Service.Slug": "slug",
    "Service.Listen": "listen",
    "Service.Config": "config",
    "Timer.OnCalendar": "calendar",
}


def unit_text(settings: Any) -> str:
    return "".join(f"{KEYS[name]}={value}\n" for name, value in settings.items())
