"""What a Rails app uses, by its files, that the manifest does not have: a warning for each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from infra.errors import Diagnostic
from infra.manifest.model import Manifest
from stacks.sources.database_yml import FILE as DATABASE_YML
from stacks.sources.database_yml import databases
from stacks.sources.documents import from_yaml, mapping, text_of

FILES = (
    *(DATABASE_YML, "config/application.rb", "config/cache.yml", "config/cable.yml", "config/storage.yml"),
    *("db/schema.rb", "db/structure.sql"),
)

_JOBS = re.compile(r"\bsolid_queue\b|\bbin/jobs\b")
_QUEUE = re.compile(r"queue_adapter\s*=\s*:solid_queue\b")
_CONNECTS = re.compile(r"solid_(?:queue|cache|cable)\.connects_to\s*=.{0,80}?\bwriting:\s*:(\w+)", re.DOTALL)
_SERVICE = re.compile(r"active_storage\.service\s*=\s*:(\w+)")


def warnings(manifest: Manifest, files: Mapping[str, str], environment: str) -> Iterator[Diagnostic]:
    """``environment`` is RAILS_ENV. Comments in Ruby do not count."""
    code = "\n".join(
        line
        for file in ("config/application.rb", f"config/environments/{environment}.rb")
        for line in files.get(file, "").splitlines()
        if not line.lstrip().startswith("#")
    )
    yield from _queue(manifest, code)
    yield from _databases(manifest, files, code, environment)
    yield from _storage(manifest, files, code)


def _queue(manifest: Manifest, code: str) -> Iterator[Diagnostic]:
    commands = [str(type_.command) for type_ in manifest.types.values() if type_.command is not None]
    if _QUEUE.search(code) and not any(map(_JOBS.search, commands)):
        hint = "add to dynos: worker: {count: 1, command: bin/jobs}"
        yield _warning("dynos", "the app uses Solid Queue, and no process type runs its jobs", hint)


def _databases(manifest: Manifest, files: Mapping[str, str], code: str, environment: str) -> Iterator[Diagnostic]:
    """The databases that Active Record does not get from the manifest."""
    known = databases(files, environment)
    primary = known.get("primary", {})
    if manifest.database is None:
        file = primary.get("database", "")
        if primary.get("adapter") == "sqlite3" and "DATABASE_URL" not in manifest.env and not _kept(manifest, file):
            yield _warning(
                "database",
                f"the SQLite database of {DATABASE_YML} is in no volume, so it is read-only in a dyno",
                "add database: {adapter: sqlite, path: storage/production.sqlite3}, and volumes: "
                "[{name: storage, path: storage}]",
            )
        return
    used = dict.fromkeys(map(str, _CONNECTS.findall(code)))
    for file, key in (("config/cache.yml", "database"), ("config/cable.yml", "connects_to")):
        value = mapping(mapping(from_yaml(file, files.get(file, ""), erb=True).data).get(environment)).get(key)
        name = text_of(mapping(mapping(value).get("database")).get("writing") if isinstance(value, dict) else value)
        used |= {name: None} if name else {}
    for name in used:
        if name in manifest.databases or f"{name.upper()}_DATABASE_URL" in manifest.env or name not in known:
            continue
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,60}", name):
            continue  # no key of the manifest
        if manifest.database.adapter == "sqlite":
            file = f"storage/production_{name}.sqlite3"
            entry = f"{{adapter: sqlite, path: {file}}}"
        else:
            entry = f"{{adapter: {manifest.database.adapter}, url: {{from_env: {name.upper()}_DATABASE_URL}}}}"
        yield _warning(
            "databases" if manifest.databases else "database",
            f"the app uses the database {name} of {DATABASE_YML}, which the manifest does not have",
            f"add to databases: {name}: {entry}",
        )


def _storage(manifest: Manifest, files: Mapping[str, str], code: str) -> Iterator[Diagnostic]:
    """Active Storage on the local disk, once the app has its tables."""
    if not any("active_storage_blobs" in files.get(file, "") for file in ("db/schema.rb", "db/structure.sql")):
        return
    services = mapping(from_yaml("config/storage.yml", files.get("config/storage.yml", ""), erb=True).data)
    for name in dict.fromkeys(_SERVICE.findall(code)):
        service = mapping(services.get(name))
        if service.get("service") == "Disk" and not _kept(manifest, "storage/x"):
            yield _warning(
                "volumes" if manifest.volumes else "",
                "Active Storage keeps files in storage, which is read-only in a dyno",
                "add volumes: [{name: storage, path: storage}], or use a service that all servers reach, such as S3",
            )


def _kept(manifest: Manifest, file: str) -> bool:
    """Whether a file of the app is in a volume."""
    return any(file.startswith(f"{volume.path}/") for volume in manifest.volumes)


def _warning(path: str, summary: str, hint: str) -> Diagnostic:
    return Diagnostic(summary, path, hint=hint, severity="warning")
