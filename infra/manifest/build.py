"""From a valid document to the model, with defaults filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.manifest.files import located
from infra.manifest.model import (
    App,
    AppServer,
    Backing,
    DynoType,
    Framework,
    Manifest,
    Map,
    Reference,
    Server,
    Ssh,
    Use,
    Value,
)

_UNITS = {"M": 1 << 20, "G": 1 << 30}


def build(data: Any, file: Path, base: Path) -> Manifest:
    """The manifest of a document's data, which passed every check. ``base`` is the file's directory."""
    optional: dict[str, Any] = {}
    if "version" in data.get("ruby", {}):
        optional["ruby_version"] = data["ruby"]["version"]
    rackup = data.get("rackup")
    return Manifest(
        file=file,
        app=App(data["app"]["name"], located(data["app"]["source"], base)),
        servers=tuple(Server(**server) for server in data["servers"]),
        dynos={name: _dyno_type(name, value) for name, value in data["dynos"].items()},
        # With a rackup the framework is only a word: the file itself says what to load.
        framework=Framework(**data["framework"]) if rackup is None else None,
        rackup=rackup,
        app_server=AppServer(**data.get("app_server", {})),
        middleware=tuple(_entry(entry) for entry in data.get("middleware", [])),
        env={name: _value(value) for name, value in data.get("env", {}).items()},
        database=_backing(data.get("database")),
        cache=_backing(data.get("cache")),
        ssh=_ssh(data.get("ssh", {}), base),
        spread=data.get("placement", {}).get("spread"),
        **optional,
    )


def _dyno_type(name: str, value: Any) -> DynoType:
    if isinstance(value, int):
        return DynoType(name, value)
    given = dict(value)
    if "cpu" in given:
        given["cpu"] = round(given["cpu"] * 1000)
    if "memory" in given:
        given["memory"] = int(given["memory"][:-1]) * _UNITS[given["memory"][-1]]
    return DynoType(name, **given)


def _entry(entry: Any) -> Use | Map:
    if "map" in entry:
        return Map(entry["map"], entry["app"], entry.get("require"))
    return Use(entry["use"], entry.get("require"), tuple(entry.get("args", ())), entry.get("options", {}))


def _backing(data: Any) -> Backing | None:
    return None if data is None else Backing(data["adapter"], _value(data["url"]))


def _value(value: Any) -> Value:
    if isinstance(value, str):
        return value
    [(kind, what)] = value.items()
    return Reference(kind, tuple(what) if isinstance(what, list) else what)


def _ssh(data: Any, base: Path) -> Ssh:
    paths = {key: located(data[key], base) for key in ("key", "known_hosts") if key in data}
    return Ssh(**{**data, **paths})
