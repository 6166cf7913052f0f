"""Suggest a manifest for an existing app, from the text of the files that Ruby apps usually have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

FILES = (
    *("Gemfile", "Gemfile.lock", "config.ru", "Procfile", "config/application.rb", "app.rb"),
    *(".ruby-version", ".tool-versions", "config/credentials.yml.enc"),
)
"""The files that are read, if they exist."""

DIRECTORIES = ("app/assets", "app/javascript")
"""The directories whose existence is checked."""

_GEM = re.compile(r"""^[ \t]*gem[\s(]+["']([\w.-]+)["']""", re.MULTILINE)
_LOCKED = re.compile(r"^    ([\w.-]+) \(", re.MULTILINE)
_RUBY = re.compile(r"""^[ \t]*ruby[\s(]+["']([^"']+)["']""", re.MULTILINE)
_CLASS = re.compile(r"^[ \t]*class\s+([A-Z]\w*(?:::[A-Z]\w*)*)\s*<\s*Sinatra::(?:Base|Application)\b", re.MULTILINE)
_LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(\S.*)$")
_TYPE = re.compile(r"[a-z][a-z0-9]*")


@dataclass(frozen=True)
class Suggestion:
    """How an app could run. ``framework`` holds the keys of the manifest, ``types`` the commands by process type,
    ``notes`` sentences for the user."""

    framework: Mapping[str, str] = field(default_factory=dict)
    rackup: str = ""
    server: str = "thin"
    ruby: str = ""
    database: str = ""
    cache: str = ""
    build: tuple[str, ...] = ()
    builder: bool = False
    """Whether the first server builds the slug."""
    types: Mapping[str, str] = field(default_factory=dict)
    middleware: tuple[str, ...] = ()
    """As lines of YAML."""
    release: str = ""
    """The release command."""
    credentials: bool = False
    """Whether Rails uses encrypted credentials."""
    notes: tuple[str, ...] = ()


def detect(files: Mapping[str, str]) -> Suggestion | None:
    """The suggestion for these files (text by name; directories have any text), or None if there is no Rack app."""
    gems = set(_GEM.findall(_uncommented(files.get("Gemfile", "")))) | set(
        _LOCKED.findall(files.get("Gemfile.lock", ""))
    )
    framework, rackup = _framework(files, gems)
    if not framework and not rackup:
        return None
    lines = dict(_procfile(files.get("Procfile", "")))
    types, type_notes = _types(lines)
    rails = framework.get("name") == "rails"
    database, database_notes = _database(gems)
    return Suggestion(
        framework=framework,
        rackup=rackup,
        server=_server(gems, lines.get("web", ""), rails=rails),
        ruby=_ruby(files),
        database=database,
        cache="memcached" if "dalli" in gems else "redis" if "redis" in gems else "",
        build=tuple(_build(files, rails=rails)),
        types=types,
        credentials=rails and "config/credentials.yml.enc" in files,
        release=lines.get("release", ""),
        notes=(*database_notes, *type_notes),
    )


def _framework(files: Mapping[str, str], gems: set[str]) -> tuple[dict[str, str], str]:
    rackup = "config.ru" if "config.ru" in files else ""
    application = files.get("config/application.rb", "")
    if "config/application.rb" in files and (gems & {"rails", "railties"} or "Rails::Application" in application):
        return {"name": "rails"}, ""
    app = _uncommented(files.get("app.rb", ""))
    sinatra = "sinatra" in gems or re.search(r"""^[ \t]*require\s+["']sinatra""", app, re.MULTILINE)
    if rackup:
        return ({"name": "sinatra"} if sinatra else {}), rackup
    if not sinatra or not app:
        return {}, ""
    named = _CLASS.search(app)
    return {"name": "sinatra", "require": "./app", "app": named[1] if named else "Sinatra::Application"}, ""


def _server(gems: set[str], web: str, *, rails: bool) -> str:
    for name in ("puma", "unicorn", "thin"):
        if re.search(rf"\b{name}\b", web):
            return name
    return next((name for name in ("puma", "unicorn", "thin") if name in gems), "puma" if rails else "thin")


def _database(gems: set[str]) -> tuple[str, tuple[str, ...]]:
    if "pg" in gems:
        return "postgresql", ()
    if gems & {"mysql2", "trilogy"}:
        return "mysql", ()
    if "sqlite3" in gems:
        return "", ("SQLite is not supported, because the filesystem of a dyno is read-only. Use PostgreSQL or MySQL.",)
    return "", ()


def _ruby(files: Mapping[str, str]) -> str:
    """A version requirement: as it is written if it is one, or the minor version of an exact version."""
    found = _RUBY.search(_uncommented(files.get("Gemfile", "")))
    text = found[1] if found else files.get(".ruby-version", "").strip()
    if not text:
        tools = re.search(r"^ruby\s+(\S+)", files.get(".tool-versions", ""), re.MULTILINE)
        text = tools[1] if tools else ""
    text = text.removeprefix("ruby-").strip()
    if re.fullmatch(r"(=|>=|<=|~>|>|<)\s*\d+(\.\d+)*", text):
        return text
    version = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?(?:[.-]?\w)*", text)
    return f"~> {version[1]}.{version[2]}.0" if version else ""


def _build(files: Mapping[str, str], *, rails: bool) -> Iterator[str]:
    bundle = "Gemfile.lock" in files
    if bundle:
        yield "bundle config set --local path vendor/bundle"
        yield "bundle config set --local without development:test"
        yield "bundle install"
    if rails and any(name in files for name in DIRECTORIES):
        yield f"SECRET_KEY_BASE=none {'bundle exec rails' if bundle else 'bin/rails'} assets:precompile"


def _procfile(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        found = _LINE.match(line.strip())
        if found:
            yield found[1], found[2].strip()


def _types(lines: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    types: dict[str, str] = {}
    notes = []
    for name, line in lines.items():
        if name in ("web", "release"):
            continue
        valid = re.sub(r"[^a-z0-9]", "", name.lower()).lstrip("0123456789")
        if not _TYPE.fullmatch(valid) or valid in types or valid == "web":
            notes.append(f"Process type {name} of the Procfile is skipped: its name is invalid or already used.")
            continue
        if valid != name:
            notes.append(
                f"Process type {name} of the Procfile is renamed to {valid}: use lowercase letters and digits only."
            )
        types[valid] = line
    return types, tuple(notes)


def _uncommented(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
