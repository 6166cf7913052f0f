"""Build the model from a valid document, with defaults filled in."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.manifest.artifacts import Login
from infra.manifest.cron import calendar, every
from infra.manifest.document import Document
from infra.manifest.host_names import ascii_form, is_loopback
from infra.manifest.model import (
    App,
    AppServer,
    Artifacts,
    Backing,
    Checks,
    DynoType,
    Framework,
    Health,
    Manifest,
    Map,
    Packages,
    Preview,
    Reference,
    Rollout,
    Router,
    Ruby,
    Schedule,
    Server,
    Ssh,
    Use,
    Value,
    Volume,
    Writable,
)
from infra.manifest.paths import is_file, resolve_path, resolved

_SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def build(document: Document, file: Path, destination: str | None = None, files: tuple[Path, ...] = ()) -> Manifest:
    """The manifest. The document must be valid, and the shared settings of servers must be expanded."""
    data: Any = document.data
    base = file.resolve().parent
    optional: dict[str, Any] = {}
    if "app_server" in data:
        optional["app_server"] = AppServer(data["app_server"]["name"], data["app_server"].get("options", {}))
    if "ssh" in data:
        optional["ssh"] = _ssh(data["ssh"], base)
    if "artifacts" in data:
        optional["artifacts"] = _artifacts(data["artifacts"])
    framework = data.get("framework")
    app = _app(data["app"], base)
    return Manifest(
        file=file,
        digest=document.sha256,
        destination=destination,
        files=files or (file,),
        app=app,
        servers=tuple(_server(server) for server in data["servers"]),
        dynos={name: _dynos(name, value) for name, value in data["dynos"].items()},
        framework=None if framework is None else Framework(**framework),
        rackup=data.get("rackup"),
        ruby=_ruby(data.get("ruby", {}), app.source),
        packages=_packages(data.get("packages", "auto")),
        builder=data.get("builder"),
        middleware=tuple(_middleware(entry) for entry in data.get("middleware", [])),
        env={name: _env(document, name, value) for name, value in data.get("env", {}).items()},
        credentials={name: _reference(value) for name, value in data.get("credentials", {}).items()},
        schedule=tuple(_schedule(entry) for entry in data.get("schedule", [])),
        volumes=tuple(
            Volume(
                entry["name"],
                entry["path"].strip("/"),
                tuple(entry.get("types", ())),
                in_bytes(entry.get("size", "0M")),
                _labels(entry),
            )
            for entry in data.get("volumes", [])
        ),
        database=_backing(data.get("database")),
        cache=_backing(data.get("cache")),
        databases={name: _backing_of(value) for name, value in data.get("databases", {}).items()},
        caches={name: _backing_of(value) for name, value in data.get("caches", {}).items()},
        rollout=_rollout(data.get("rollout", {})),
        checks=Checks(**data.get("checks", {})),
        keep=data.get("keep", Manifest.keep),
        release_command=_command(data.get("release_command")),
        spread=data.get("placement", {}).get("spread"),
        per_core=round(data.get("placement", {}).get("overcommit", 1) * 1000),
        router=_router(data["router"]) if "router" in data else None,
        preview=_preview(data["preview"]) if "preview" in data else None,
        **optional,
    )


def _server(data: dict[str, Any]) -> Server:
    return Server(**{key: value for key, value in data.items() if key != "groups"})


def _app(data: dict[str, Any], base: Path) -> App:
    source = resolved(resolve_path(base, data["source"]))
    writable = tuple(_writable(entry) for entry in data.get("writable", ()))
    return App(data["name"], source, tuple(data.get("build", ())), writable)


def _writable(entry: str | dict[str, Any]) -> Writable:
    if isinstance(entry, str):
        return Writable(entry.strip("/"))
    return Writable(entry["path"].strip("/"), in_bytes(entry.get("size", "0M")), entry.get("seed", False))


def _ruby(data: dict[str, Any], source: Path) -> Ruby:
    # An app with a lock file runs with exactly the gems that it locks.
    bundler = data.get("bundler", is_file(source / "Gemfile.lock"))
    return Ruby(data.get("version", Ruby.version), data.get("path"), bundler)


def _packages(data: Any) -> Packages:
    keys = data if isinstance(data, dict) else {"install": data}
    install, upgrade = keys.get("install", "auto"), keys.get("upgrade") == "needed"
    names = tuple(install) if isinstance(install, list) else ()
    return Packages(install == "manual", names, tuple(keys.get("builder", ())), upgrade)


def _rollout(data: dict[str, Any]) -> Rollout:
    return Rollout(**{**data, "health": Health(**data.get("health", {}))})


def _router(data: dict[str, Any]) -> Router:
    listen, tls = data.get("listen", Router.http), data.get("tls", {})
    optional: dict[str, Any] = {"http": listen} if isinstance(listen, int) else dict(listen)
    optional |= {name: _reference(tls[name]) for name in ("certificate", "key") if name in tls}
    optional |= {"timeout": data.get("timeout", Router.timeout), "acme": tls.get("acme")}
    optional["trusted_proxies"] = tuple(str(ip_network(text)) for text in data.get("trusted_proxies", ()))
    return Router(data["kind"], tuple(data["servers"]), tuple(map(ascii_form, data.get("hosts", ()))), **optional)


def _preview(data: dict[str, Any]) -> Preview:
    commands = {key: _command(value) for key, value in data.get("database", {}).items()}
    return Preview(data["host"], data.get("expires", Preview.expires), **commands)


def _ssh(data: dict[str, Any], base: Path) -> Ssh:
    paths: dict[str, Any] = {key: resolve_path(base, data[key]) for key in ("key", "known_hosts") if key in data}
    values: dict[str, Any] = dict(data)
    values.update(paths)
    return Ssh(**values)


def _artifacts(data: dict[str, Any]) -> Artifacts:
    shared: dict[str, Any] = {
        "fallback": data.get("fallback", True),
        "bandwidth": in_bytes(data.get("bandwidth", "0M")),
    }
    if "http" not in data and "oci" not in data:
        return Artifacts(relay=data.get("ssh", {}).get("relay", False), **shared)
    keys: dict[str, Any] = data["http"] if "http" in data else data["oci"]
    shared |= {"push": _login(keys), "pull": _login(keys.get("read", {})), "insecure": keys.get("insecure", False)}
    if "http" in data:
        return Artifacts("http", keys.get("url", "").rstrip("/"), presign=tuple(keys.get("presign", ())), **shared)
    registry, _, repository = keys["repository"].partition("/")
    scheme = "http" if shared["insecure"] or is_loopback(urlsplit(f"//{registry}").hostname or "") else "https"
    return Artifacts("oci", f"{scheme}://{registry}", repository, **shared)


def _login(data: dict[str, Any]) -> Login:
    return Login(**{key: _value(data[key]) for key in ("token", "user", "password") if key in data})


def _dynos(name: str, value: Any) -> DynoType:
    if isinstance(value, int):
        return DynoType(name, value)
    keys: dict[str, Any] = {"count": value.get("count", 1)} | {
        key: value[key] for key in ("port", "stop_timeout", "network", "metadata", "idle") if key in value
    }
    keys["bind"] = tuple(value.get("bind", ()))
    if "command" in value:
        keys["command"] = _command(value["command"])
    if "health" in value:
        keys["health"] = _command(value["health"]["command"])
    return DynoType(name, **keys, **_limits(value))


def _labels(value: dict[str, Any]) -> dict[str, str]:
    """The labels that a server must have for a process type, a schedule or a volume."""
    return dict(value.get("servers", {}).get("labels", {}))


def _limits(value: dict[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {"labels": _labels(value)}
    if "cpu" in value:
        keys["cpu"] = max(round(value["cpu"] * 1000), 1 if value["cpu"] else 0)
    for key in ("memory", "tmp", "shm"):
        if key in value:
            keys[key] = in_bytes(value[key])
    return keys


def in_bytes(size: str) -> int:
    """The bytes of a size such as ``512M`` or ``1G``."""
    return int(size[:-1]) * _SIZES[size[-1]]


def _schedule(value: dict[str, Any]) -> Schedule:
    cron = value.get("cron")
    times = calendar(cron) if cron is not None else every(value["every"])
    optional = {key: value[key] for key in ("timeout", "concurrency", "network", "metadata") if key in value}
    # Units keep no outer blanks, and a value of several lines would be several settings.
    when = " ".join(str(cron).split()) if cron is not None else f"every {value['every']}"
    return Schedule(value["name"], _command(value["command"]) or "", times, when, **optional, **_limits(value))


def _command(value: Any) -> str | tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) else value


def _middleware(entry: dict[str, Any]) -> Use | Map:
    if "map" in entry:
        return Map(entry["map"], entry["app"], entry.get("require"))
    return Use(entry["use"], entry.get("require"), tuple(entry.get("args", ())), entry.get("options", {}))


def _env(document: Document, name: str, value: Any) -> Value:
    # The text as it is written: 1.10 is "1.10", and true is "true".
    return _value(value) if isinstance(value, dict) else document.scalars.get(("env", name), str(value))


def _backing(data: dict[str, Any] | None) -> Backing | None:
    return None if data is None else _backing_of(data)


def _backing_of(data: dict[str, Any]) -> Backing:
    return Backing(
        adapter=data["adapter"],
        url=_value(data["url"]) if "url" in data else None,
        host=data.get("host", ""),
        port=data.get("port"),
        name=str(data.get("name", "")),
        user=_value(data["user"]) if "user" in data else None,
        password=_value(data["password"]) if "password" in data else None,
        options={key: str(value) for key, value in data.get("options", {}).items()},
        path=data.get("path", ""),
    )


def _value(value: Any) -> Value:
    return value if isinstance(value, str) else _reference(value)


def _reference(value: Any) -> Reference:
    kind, source = next(iter(value.items()))
    return Reference(kind, tuple(source) if isinstance(source, list) else source)
