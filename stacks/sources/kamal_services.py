"""The parts of Kamal's config/deploy.yml around the app: its proxy, its volumes and its accessories."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stacks.sources.documents import Data, Document, computed, listed, mapping, text_of
from stacks.sources.found import Note, Volume, seconds, shortened
from stacks.sources.paths import in_app, volume_name

_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_IMAGES = (
    ("postg", "PostgreSQL", "database"),
    ("mysql", "MySQL", "database"),
    ("mariadb", "MariaDB", "database"),
    ("redis", "Redis", "cache"),
    ("valkey", "Valkey", "cache"),
    ("memcached", "memcached", "cache"),
)


@dataclass(frozen=True)
class Proxy:
    hosts: tuple[str, ...] = ()
    timeout: int | None = None
    tls: bool = False
    health: str = ""


def proxy(document: Document, data: Mapping[str, Data], notes: list[Note]) -> Proxy:
    """Kamal's proxy. Its health check is /up unless it says otherwise."""
    settings = mapping(data.get("proxy"))
    found = [text_of(settings.get("host")), *(text_of(host) for host in listed(settings.get("hosts")))]
    hosts = []
    for host in (name.strip() for text in found for name in text.lower().split(",")):
        if computed(host) is not None:
            notes.append(document.note("a host of the proxy is computed: add it to router.hosts", "proxy", "host"))
        elif len(host) <= 253 and _HOST.fullmatch(host):
            hosts.append(host)
        elif host:
            why = "router.hosts has no patterns" if "*" in host else "it is invalid"
            text = f"host {shortened(host)} is not carried over: {why}"
            notes.append(document.note(text, "proxy", "host"))
    check = mapping(settings.get("healthcheck")) or mapping(data.get("healthcheck"))
    for key, value in settings.items():
        if key not in ("host", "hosts", "ssl", "healthcheck", "app_port", "response_timeout", "forward_headers"):
            text = f"proxy.{shortened(key)} is not carried over: the router has no such setting"
            notes.append(document.note(text, "proxy", key))
        elif key == "forward_headers" and value is True:
            text = "proxy.forward_headers is not carried over: set router.trusted_proxies to the proxy in front"
            notes.append(document.note(text, "proxy", key))
    ssl = settings.get("ssl")
    if isinstance(ssl, dict):
        text = "proxy.ssl is not carried over: set router.tls to references to the certificate and its key"
        notes.append(document.note(text, "proxy", "ssl"))
    path = text_of(check.get("path")) or "/up"
    if hosts:
        text = "Kamal's proxy must leave its ports before the first apply: kamal proxy remove"
        notes.append(document.note(text, "proxy"))
    timeout = seconds(settings.get("response_timeout"))
    health = path if re.fullmatch(r"/[!-~]{0,200}", path) else "/up"
    return Proxy(tuple(dict.fromkeys(hosts)), timeout, ssl is True, health)


def batch(limit: Data) -> int | str | None:
    """``boot.limit`` as ``rollout.max_parallel``."""
    if isinstance(limit, int) and not isinstance(limit, bool) and 1 <= limit <= 10000:
        return limit
    return limit if isinstance(limit, str) and re.fullmatch(r"[1-9][0-9]?%|100%", limit) else None


def volumes(document: Document, data: Mapping[str, Data], notes: list[Note]) -> tuple[Volume, ...]:
    """``NAME_OR_PATH:/rails/storage`` as volumes. Those outside of the app are noted."""
    found = []
    for index, entry in enumerate(listed(data.get("volumes"))):
        source, _, target = text_of(entry).partition(":")
        target = target.partition(":")[0]
        path, inside = in_app(target)
        if not path:
            text = f"volume {shortened(text_of(entry))} is not carried over: it is not a directory of the app"
            notes.append(document.note(text, "volumes", index))
            continue
        found.append(Volume(volume_name(path), path))
        if not inside:
            text = f"volume {shortened(target)} is {path} in the directory of the app: change what names {target}"
            notes.append(document.note(text, "volumes", index))
        text = f"copy the data of {shortened(source)} to the volume {volume_name(path)} before the first apply"
        notes.append(document.note(text, "volumes", index))
    return tuple(found)


def accessories(document: Document, settings: Mapping[str, Data]) -> Iterator[Note]:
    """A note for each accessory: dynoctl runs no containers."""
    for name, value in settings.items():
        image = text_of(mapping(value).get("image")).lower()
        known = next(((program, key) for word, program, key in _IMAGES if word in image), None)
        where = f"it needs {known[0]} that you run, and its address in {known[1]}" if known else "run it yourself"
        yield document.note(
            f"accessory {shortened(name)} is not carried over, as dynoctl runs no containers: {where}",
            *("accessories", name),
        )
