"""What a simulated server prints for each simulated resource type when it is observed."""

from __future__ import annotations

import json
from collections.abc import Mapping

from infra.model import naming, routing
from tests.simulation import programs
from tests.simulation.providers import KEYS
from tests.simulation.server import ROUTES, STATE, UNITS, SimServer


def section(values: Mapping[str, object]) -> str:
    return "\n".join(f"{name} {json.dumps(value)}" for name, value in values.items())


def _settings(text: str) -> dict[str, str]:
    names = {short: name for name, short in KEYS.items()}
    return {names[key]: value for key, _, value in (line.partition("=") for line in text.splitlines()) if key in names}


# What a server prints for each.


def _packages(server: SimServer, names: Mapping[str, str]) -> str:
    return section({name: {} for name in sorted(server.packages) if name in names["app"].split()})


def _slugs(server: SimServer, names: Mapping[str, str]) -> str:
    directory = f"{STATE}/{names['app']}/slugs"
    paths = [path for path in server.below(directory) if path.endswith(".squashfs")]
    return section(
        {path.removeprefix(f"{directory}/").removesuffix(".squashfs"): bool(server.files[path]) for path in paths}
    )


def _leftovers(server: SimServer, names: Mapping[str, str]) -> str:
    app = names["app"]
    places = (
        f"/etc/dyno/{app}/",
        f"{UNITS}/dyno-{app}-web-",
        f"{UNITS}/dyno-{app}-worker-",
        f"{UNITS}/dyno-{app}-nightly-",
    )
    return section({path: {} for path in sorted(server.files) if path.startswith(places) and path.endswith("new")})


def _configs(server: SimServer, names: Mapping[str, str]) -> str:
    directory, found = f"/etc/dyno/{names['app']}", {}
    for path in server.below(directory):
        if path.endswith(".env"):
            pairs = (line.partition("=") for line in server.files[path].splitlines())
            found[path.removeprefix(f"{directory}/").removesuffix(".env")] = {key: value for key, _, value in pairs}
    salt = server.files.get(f"{STATE}/{names['app']}/salt", "").strip()
    return section({"salt": salt, "files": found})


def _units(server: SimServer, names: Mapping[str, str], *, schedules: bool = False) -> str:
    prefix, found = f"{UNITS}/dyno-{names['app']}-", {}
    for path in sorted(server.files):
        if not path.startswith(prefix) or not path.endswith(".service"):
            continue
        unit = path.rpartition("/")[2].removesuffix(".service")
        named = naming.UNIT_NAME.match(unit)
        if named is None or named["app"] != names["app"]:
            continue
        dyno, settings = f"{named['type']}.{named['number']}", _settings(server.files[path])
        if not server.files[path] and (named["type"] == "nightly") is not schedules:
            continue  # its timer tells what it was
        if not server.files[path]:
            pass
        elif settings.get(f"Unit.{naming.APP}") != names["app"]:
            found[dyno] = {"foreign": True}
            continue
        elif ("Timer.OnCalendar" in settings) is not schedules:
            found[dyno] = {"blocked": "a schedule and a process type cannot have the same name"}
            continue
        if schedules:
            paused = programs.paused(names["app"], unit) in server.files
            state = "waiting" if unit in server.timers else "paused" if paused else "stopped"
            found[dyno] = {"unit": settings, "enabled": unit in server.enabled, "state": state}
        else:
            process = server.processes.get(unit)
            state = (
                "running"
                if unit in server.idle
                else "stopped"
                if process is None
                else "running"
                if process.healthy
                else "not answering"
            )
            ready = {"Service.For": unit}
            found[dyno] = {"unit": settings, "ready": ready, "enabled": unit in server.enabled, "state": state}
    return section(found)


def _schedules(server: SimServer, names: Mapping[str, str]) -> str:
    return _units(server, names, schedules=True)


def _routes(server: SimServer, names: Mapping[str, str]) -> str:
    text, loaded = server.files.get(f"{ROUTES}/{names['app']}/mark.json"), server.loaded.get(names["app"])
    state = "running" if text == loaded else "outdated"
    return section({names["app"]: {**json.loads(text or loaded or ""), "state": state}}) if text or loaded else ""


SECTIONS = {
    "sim package": _packages,
    "sim slug": _slugs,
    "sim leftover": _leftovers,
    "sim config": _configs,
    "sim unit": _units,
    "sim schedule": _schedules,
    "sim router": _routes,
    routing.fragment().script: lambda server, names: "",  # they are among the facts
}
