"""Which database and which cache an app uses, from its gems and its variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from stacks.sources.database_yml import FILE as DATABASE_YML
from stacks.sources.database_yml import databases
from stacks.sources.found import Found, Note, Secret, Volume
from stacks.suggestion import Backing

_FILE = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9_@+./-]{0,200}")
_PARTS = re.compile(r"(?:\w+_)?(?:DB|DATABASE|POSTGRES|PG|MYSQL)_?(?:HOST|HOSTNAME|PASSWORD)|PGHOST|PGPASSWORD")
_REDIS = ("redis", "redis-client", "sidekiq", "resque", "kredis", "hiredis", "redis-rails", "redis-rack")
_LIBRARY: Mapping[str, str] = {"postgresql": "libpq5", "mysql": "libmariadb3"}


@dataclass(frozen=True)
class Backings:
    """``sets`` are the variables that database and cache set, so that ``env`` needs none of them."""

    database: Backing | None = None
    databases: Mapping[str, Backing] = field(default_factory=dict)
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
    files_of: dict[str, Backing] = {}
    database = Backing(adapter, "DATABASE_URL") if adapter else None
    parts = sorted(name for name in known if _PARTS.fullmatch(name))
    if database is not None and parts and "DATABASE_URL" not in known:
        notes.append(Note(f"database is not set, as the app reads {', '.join(parts)}: they are in env"))
        # The library that the gem is linked with comes with the key database, which is not there.
        database, packages = None, (_LIBRARY[adapter],) if found.locked else ()
    if not adapter and "sqlite3" in gems:
        files_of, volumes, note = _sqlite(files, found, rails=rails)
        database = files_of.pop("primary", None)
        notes += note
    cache, secrets = _cache(found)
    sets = {"DATABASE_URL"} if database else set()
    if cache is not None:
        sets |= {"CACHE_URL", "REDIS_URL"} if cache.adapter == "redis" else {"CACHE_URL", "MEMCACHE_SERVERS"}
    sets |= {f"{name.upper()}_DATABASE_URL" for name in files_of}
    kept = frozenset(sets - secrets.keys())
    return Backings(database, files_of, cache, kept, secrets, packages=packages, volumes=volumes, notes=tuple(notes))


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


def _sqlite(
    files: Mapping[str, str], found: Found, *, rails: bool
) -> tuple[dict[str, Backing], tuple[Volume, ...], list[Note]]:
    """The SQLite databases that are in a volume, or in the directory that Rails has for data, which becomes one. Beside
    other files of the app, such as migrations, a database cannot be in a volume."""
    paths = {name: entry["database"] for name, entry in databases(files).items() if entry.get("database")}
    places = (*(f"{volume.path}/" for volume in found.volumes), *(("storage/",) if rails else ()))
    kept = {name: path for name, path in paths.items() if path.startswith(places) and _FILE.fullmatch(path)}
    if "primary" in kept:
        volumes = (Volume("storage", "storage"),) if any(path.startswith("storage/") for path in kept.values()) else ()
        note = Note("SQLite is in a volume, which is on one server, with all dynos that use it")
        return {name: Backing("sqlite", path=path) for name, path in kept.items()}, volumes, [note]
    where = f"{next(iter(paths.values()))} is" if paths else "a database beside the app's files is"
    text = f"{where} lost at each release: move it to a directory of its own, such as storage, and make that a volume"
    return {}, (), [Note(f"SQLite: {text}", DATABASE_YML if paths else "")]
