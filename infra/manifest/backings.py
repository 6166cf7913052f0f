"""Databases and caches: from a URL or its parts to the environment variables that Ruby libraries read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import quote, urlencode

from infra.manifest.urls import has_password, parse
from infra.sensitive import Sensitive, reveal

Text = str | Sensitive

PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "redis": 6379, "memcached": 11211}
"""The default port of each service."""

SCHEMES = {
    "postgresql": "postgresql",
    "mysql": "mysql2",  # the name of the gem, and so of the adapter in ActiveRecord and Sequel
    "mariadb": "mysql2",
    "redis": "redis",
    "memcached": "memcached",
}


@dataclass(frozen=True)
class Service:
    """A database or a cache with all its parts. Only ``url`` is percent-encoded."""

    adapter: str
    url: Text
    host: Text
    port: int
    name: Text = ""
    user: Text = ""
    password: Text = ""
    options: Mapping[str, str] = field(default_factory=dict)


def from_url(adapter: str, url: Text) -> Service:
    """Split a URL. Every part of a sensitive URL is sensitive; a password always is."""
    keep: Callable[[str], Text] = partial(Sensitive, common=True) if isinstance(url, Sensitive) else str
    text = reveal(url)
    parts = parse(text)
    if parts is None or parts.scheme == "unix":
        return Service(adapter, url, "", 0)
    if parts.scheme in ("mysql", "mariadb"):  # ActiveRecord has no adapter of that name
        text = f"mysql2:{text.partition(':')[2]}"
    return Service(
        adapter=adapter,
        url=Sensitive(text) if isinstance(url, Sensitive) or has_password(text) else text,
        host=keep(parts.host),
        port=parts.port or PORTS[adapter],
        name=keep(parts.path),
        user=keep(parts.user),
        password=Sensitive(parts.password) if parts.password else "",
        options=dict(parts.query),
    )


def from_parts(
    adapter: str, host: str, port: int | None, name: str, user: Text, password: Text, *, options: Mapping[str, str]
) -> Service:
    """Build a URL, with every part percent-encoded."""
    number = port or PORTS[adapter]
    login = quote(reveal(user), safe="")
    if reveal(password):
        login += ":" + quote(reveal(password), safe="")
    addresses = _addresses(host, number)
    text = f"{SCHEMES[adapter]}://{login + '@' if login else ''}{addresses}"
    text += f"/{quote(name, safe='')}" if name else ""
    text += f"?{urlencode(options, quote_via=quote)}" if options else ""
    secret = isinstance(user, Sensitive) or bool(reveal(password))
    hidden = Sensitive(reveal(password)) if reveal(password) else ""
    return Service(
        adapter,
        Sensitive(text) if secret else text,
        host,
        port=number,
        name=name,
        user=user,
        password=hidden,
        options=options,
    )


def from_path(path: str) -> Service:
    """A SQLite database in a file of the app. The URL is the one that Active Record reads: an absolute path."""
    return Service("sqlite", f"sqlite3:///app/{quote(path)}", "", 0, name=path)


def variables(kind: str, service: Service, name: str = "") -> dict[str, Text]:
    """The environment variables of a ``database`` or a ``cache``; ``name`` is the prefix of their names.

    The variables that a C library reads cannot have a prefix, so only the unnamed database sets them.
    """
    prefix = f"{name.upper()}_" if name else ""
    port = str(service.port)
    found: dict[str, Text] = {f"{prefix}{kind.upper()}_URL": service.url}
    if service.adapter == "redis":
        found[f"{prefix}REDIS_URL"] = service.url
    elif service.adapter == "memcached":
        found[f"{prefix}MEMCACHE_SERVERS"] = _servers(service)
        found |= {f"{prefix}MEMCACHE_USERNAME": service.user, f"{prefix}MEMCACHE_PASSWORD": service.password}
    elif service.adapter == "postgresql" and not name:
        found |= {"PGHOST": service.host, "PGPORT": port, "PGDATABASE": service.name}
        found |= {"PGUSER": service.user, "PGPASSWORD": service.password}
        found["PGSSLMODE"] = service.options.get("sslmode", "")
    elif service.adapter in ("mysql", "mariadb") and not name:
        found |= {"MYSQL_HOST": service.host, "MYSQL_TCP_PORT": port, "MYSQL_DATABASE": service.name}
        found |= {"MYSQL_USER": service.user, "MYSQL_PWD": service.password}
    return {key: value for key, value in found.items() if reveal(value)}


def _addresses(hosts: str, port: int) -> str:
    """Hosts separated by commas, each as ``host:port``."""
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts.split(","))


def _servers(service: Service) -> Text:
    """MEMCACHE_SERVERS, as Dalli reads it: ``host:port``, separated by commas."""
    text = _addresses(reveal(service.host), service.port)
    return Sensitive(text, common=True) if isinstance(service.host, Sensitive) else text
