"""Which database and which cache an app uses, from its gems and its variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from stacks.sources.found import Found, Note, Secret, Volume
from stacks.suggestion import Backing

DATABASE_YML = "config/database.yml"

_SQLITE = re.compile(r"^[ \t]*database:[ \t]*[\"']?([\w./-]{1,200}\.sqlite3?)\b", re.MULTILINE)
_PARTS = re.compile(r"(?:\w+_)?(?:DB|DATABASE|POSTGRES|PG|MYSQL)_?(?:HOST|HOSTNAME|PASSWORD)|PGHOST|PGPASSWORD")
_REDIS = ("redis", "redis-client", "sidekiq", "resque", "kredis", "hiredis", "redis-rails", "redis-rack")
_LIBRARY: Mapping[str, str] = {"postgresql": "libpq5", "mysql": "libmariadb3"}


@dataclass(frozen=True)
class Backings:
    """``sets`` are the variables that database and cache set, so that ``env`` needs none of them."""

    database: Backing | None = None
    cache: Backing | None = None
    sets: frozenset[str] = frozenset()
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    notes: tuple[Note, ...] = ()


def backings(files: Mapping[str, str], found: Found, *, rails: bool) -> Backings:
    """The database and the cache of an app. Variables of the platform decide whether a URL or parts are used."""
    gems, known = found.gems.keys(), {*found.env, *found.secrets}
    adapter = "postgresql" if "pg" in gems else "mysql" if {"mysql2", "trilogy"} & gems else ""
    notes: list[Note] = []
    packages: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    database = Backing(adapter, "DATABASE_URL") if adapter else None
    parts = sorted(name for name in known if _PARTS.fullmatch(name))
    if database is not None and parts and "DATABASE_URL" not in known:
        notes.append(Note(f"database is not set, as the app reads {', '.join(parts)}: they are in env"))
        # The library that the gem is linked with comes with the key database, which is not there.
        database, packages = None, (_LIBRARY[adapter],) if found.locked else ()
    if not adapter and "sqlite3" in gems:
        volumes, note = _sqlite(files, rails=rails)
        notes += note
    cache, secrets = _cache(found)
    sets = {"DATABASE_URL"} if database else set()
    if cache is not None:
        sets |= {"CACHE_URL", "REDIS_URL"} if cache.adapter == "redis" else {"CACHE_URL", "MEMCACHE_SERVERS"}
    sets -= secrets.keys()
    return Backings(database, cache, frozenset(sets), secrets, packages, volumes=volumes, notes=tuple(notes))


def _cache(found: Found) -> tuple[Backing | None, Mapping[str, Secret]]:
    """memcached if the app has dalli, with the URL of a Redis in env beside it; else Redis."""
    gems, known = found.gems.keys(), {*found.env, *found.secrets}
    redis = bool(gems & set(_REDIS))
    elsewhere = {name for name in known if "REDIS" in name and name.endswith("_URL")} - {"REDIS_URL"}
    if "dalli" in gems:
        secrets = {"REDIS_URL": Secret()} if redis and not elsewhere else {}
        if any(re.fullmatch(r"MEMCACHIER_SERVERS|MEMCACHEDCLOUD_SERVERS", name) for name in known):
            return None, secrets
        return Backing("memcached", "CACHE_URL"), secrets
    if redis and ("REDIS_URL" in known or not elsewhere):
        return Backing("redis", "REDIS_URL"), {}
    return None, {}


def _sqlite(files: Mapping[str, str], *, rails: bool) -> tuple[tuple[Volume, ...], list[Note]]:
    """The directory of a SQLite database as a volume. A database beside other files of the app cannot be in one."""
    paths = _SQLITE.findall(files.get(DATABASE_YML, "")[:100_000])
    directories = {path.rpartition("/")[0].strip("/") for path in paths}
    if rails and "storage" in directories:
        return (Volume("storage", "storage"),), [
            Note("SQLite is in the volume storage, which is on one server, with all dynos that use it")
        ]
    where = f"{paths[-1]} is" if paths else "a database beside the app's files is"
    text = f"{where} lost at each release: move it to a directory of its own, such as storage, and make that a volume"
    return (), [Note(f"SQLite: {text}", DATABASE_YML if paths else "")]
