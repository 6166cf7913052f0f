"""Databases and caches: from a URL or its parts to the variables that Ruby's libraries read by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import parse_qsl, quote, unquote, urlencode

from infra.manifest.urls import has_password, split
from infra.sensitive import Sensitive

Word = str | Sensitive

PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "redis": 6379, "memcached": 11211}
"""What each service listens on where nobody says otherwise."""

SCHEMES = {
    "postgresql": "postgresql",
    "mysql": "mysql2",  # the name of the gem, and so of the adapter in ActiveRecord and Sequel
    "mariadb": "mysql2",
    "redis": "redis",
    "memcached": "memcached",
}


@dataclass(frozen=True)
class Service:
    """A database or a cache that is known in full: nothing in it is encoded but ``url``."""

    adapter: str
    url: Word
    host: Word
    port: int
    name: Word = ""
    user: Word = ""
    password: Word = ""
    options: Mapping[str, str] = field(default_factory=dict)


def plain(word: Word) -> str:
    """The text of a word, secret or not."""
    return word.reveal() if isinstance(word, Sensitive) else word


def from_url(adapter: str, url: Word) -> Service:
    """Take a URL apart. Where all of it is secret, so is every part; a password always is."""
    keep: Callable[[str], Word] = partial(Sensitive, common=True) if isinstance(url, Sensitive) else str
    text = plain(url)
    parts = split(text)
    if parts is None or parts.scheme == "unix":
        return Service(adapter, url, "", 0)
    if parts.scheme in ("mysql", "mariadb"):  # ActiveRecord knows no adapter of that name
        text = f"mysql2:{text.partition(':')[2]}"
    password = unquote(parts.password or "")
    return Service(
        adapter,
        Sensitive(text) if isinstance(url, Sensitive) or has_password(text) else text,
        keep(parts.hostname or ""),
        parts.port or PORTS[adapter],
        keep(unquote(parts.path.lstrip("/"))),
        keep(unquote(parts.username or "")),
        Sensitive(password) if password else "",
        dict(parse_qsl(parts.query)),
    )


def from_parts(
    adapter: str, host: str, port: int | None, name: str, user: Word, password: Word, options: Mapping[str, str]
) -> Service:
    """Put a URL together, with every part percent-encoded."""
    number = port or PORTS[adapter]
    who = quote(plain(user), safe="")
    if plain(password):
        who += ":" + quote(plain(password), safe="")
    hosts = [f"[{one}]" if ":" in one else one for one in host.split(",")]
    where = ",".join(f"{one}:{number}" for one in hosts)
    text = f"{SCHEMES[adapter]}://{who + '@' if who else ''}{where}"
    text += f"/{quote(name, safe='')}" if name else ""
    text += f"?{urlencode(options)}" if options else ""
    secret = isinstance(user, Sensitive) or bool(plain(password))
    word = Sensitive(plain(password)) if plain(password) else ""
    return Service(adapter, Sensitive(text) if secret else text, host, number, name, user, word, options)


def variables(kind: str, service: Service, name: str = "") -> dict[str, Word]:
    """The environment of a ``database`` or a ``cache``; one that has a name has it before each variable's.

    Those that a C library reads have no such form, so only the first database sets them.
    """
    prefix = f"{name.upper()}_" if name else ""
    port = str(service.port)
    found: dict[str, Word] = {f"{prefix}{kind.upper()}_URL": service.url}
    if service.adapter == "redis":
        found[f"{prefix}REDIS_URL"] = service.url
    elif service.adapter == "memcached":
        found[f"{prefix}MEMCACHE_SERVERS"] = _servers(service)
        found |= {f"{prefix}MEMCACHE_USERNAME": service.user, f"{prefix}MEMCACHE_PASSWORD": service.password}
    elif service.adapter == "postgresql" and not name:
        found |= {"PGHOST": service.host, "PGPORT": port, "PGDATABASE": service.name}
        found |= {"PGUSER": service.user, "PGPASSWORD": service.password}
        found["PGSSLMODE"] = service.options.get("sslmode", "")
    elif not name:
        found |= {"MYSQL_HOST": service.host, "MYSQL_TCP_PORT": port, "MYSQL_DATABASE": service.name}
        found |= {"MYSQL_USER": service.user, "MYSQL_PWD": service.password}
    return {key: value for key, value in found.items() if plain(value)}


def _servers(service: Service) -> Word:
    """As Dalli reads them: ``host:port``, divided by commas."""
    hosts = [f"[{one}]" if ":" in one else one for one in plain(service.host).split(",")]
    text = ",".join(f"{one}:{service.port}" for one in hosts)
    return Sensitive(text, common=True) if isinstance(service.host, Sensitive) else text
