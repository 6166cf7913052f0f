"""From a valid document to the model, with defaults filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.manifest.document import Document
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

_SIZES = {"M": 1 << 20, "G": 1 << 30}


def build(document: Document, file: Path) -> Manifest:
    """The manifest. The document must have passed every check."""
    data: Any = document.data
    base = file.resolve().parent
    optional: dict[str, Any] = {}
    if "version" in data.get("ruby", {}):
        optional["ruby_version"] = data["ruby"]["version"]
    if "app_server" in data:
        optional["app_server"] = AppServer(data["app_server"]["name"], data["app_server"].get("options", {}))
    if "ssh" in data:
        optional["ssh"] = _ssh(data["ssh"], base)
    rackup = data.get("rackup")
    framework = data.get("framework")
    return Manifest(
        file=file,
        app=App(data["app"]["name"], (base / Path(data["app"]["source"]).expanduser()).resolve()),
        servers=tuple(Server(**server) for server in data["servers"]),
        dynos={name: _dynos(name, value) for name, value in data["dynos"].items()},
        framework=None if framework is None or rackup is not None else Framework(**framework),
        rackup=rackup,
        middleware=tuple(_entry(entry) for entry in data.get("middleware", [])),
        env={name: _env(document, name, value) for name, value in data.get("env", {}).items()},
        database=_backing(data.get("database")),
        cache=_backing(data.get("cache")),
        spread=data.get("placement", {}).get("spread"),
        **optional,
    )


def _ssh(data: dict[str, Any], base: Path) -> Ssh:
    paths: dict[str, Any] = {key: base / Path(data[key]).expanduser() for key in ("key", "known_hosts") if key in data}
    values: dict[str, Any] = dict(data)
    values.update(paths)
    return Ssh(**values)


def _dynos(name: str, value: Any) -> DynoType:
    if isinstance(value, int):
        return DynoType(name, value)
    keys: dict[str, Any] = {key: value[key] for key in ("count", "port") if key in value}
    if "cpu" in value:
        keys["cpu"] = round(value["cpu"] * 1000)
    if "memory" in value:
        keys["memory"] = int(value["memory"][:-1]) * _SIZES[value["memory"][-1]]
    return DynoType(name, **keys)


def _entry(entry: dict[str, Any]) -> Use | Map:
    if "map" in entry:
        return Map(entry["map"], entry["app"], entry.get("require"))
    return Use(entry["use"], entry.get("require"), tuple(entry.get("args", ())), entry.get("options", {}))


def _env(document: Document, name: str, value: Any) -> Value:
    # As it is written: 1.10 is "1.10", and true is "true".
    return _value(value) if isinstance(value, dict) else document.scalars.get(("env", name), str(value))


def _backing(data: dict[str, Any] | None) -> Backing | None:
    return None if data is None else Backing(data["adapter"], _value(data["url"]))


def _value(value: Any) -> Value:
    if isinstance(value, str):
        return value
    kind, what = next(iter(value.items()))
    return Reference(kind, tuple(what) if isinstance(what, list) else what)
