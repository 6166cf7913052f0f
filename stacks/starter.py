"""The starter apps of ``init``, and the dyno.yaml of a starter or of an existing app."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from stacks.detect import Suggestion

LONGEST_NAME = 16

SECRET = ("SECRET_KEY_BASE", ".dyno/secret_key_base")
"""The key that Rails signs sessions with, and the file in which ``init`` stores a generated key."""

SLUGIGNORE = """\
# Files that are not part of the slug, with the syntax of .gitignore.
/.env*
/config/master.key
/log/
/tmp/
/node_modules/
"""
"""The .slugignore of an app that has none: it excludes local secrets and generated files."""

STARTERS: Mapping[str, Suggestion] = MappingProxyType(
    {
        "rails": Suggestion(
            framework={"name": "rails"},
            server="puma",
            ruby=">= 3.1",
            database="postgresql",  # Active Record does not start without a database
            build=("SECRET_KEY_BASE=none bin/rails assets:precompile",),
            builder=True,
            types={"worker": "bin/rails runner worker.rb"},
            release="bin/rails db:migrate",
        ),
        "sinatra": Suggestion(
            framework={"name": "sinatra", "require": "./app", "app": "Shop"},
            ruby=">= 3.1",
            types={"worker": "ruby worker.rb"},
            middleware=(
                "- use: Ping # answers /ping without calling the app",
                "  require: ./lib/ping",
                "  args: [/ping]",
                "- map: /admin # another app in the same process",
                "  require: ./admin",
                "  app: Admin",
            ),
        ),
        "rack": Suggestion(framework={"name": "rack", "require": "./app", "app": "App"}, ruby=">= 3.1"),
    }
)
"""The starters by framework. The app of a starter is in the directory of that name in starters/."""


DEFAULT = "sinatra"
"""The default starter of a new app."""


def app_name(directory: str) -> str:
    """A valid app name from the name of a directory, at most 16 characters."""
    parts = re.findall(r"[a-z0-9]+", directory.lower())
    while parts and parts[0][0].isdigit():
        parts[0] = parts[0].lstrip("0123456789")
        if not parts[0]:
            parts.pop(0)
    name = "-".join(parts)[:LONGEST_NAME].strip("-")
    return name or "app"


def render(suggestion: Suggestion, name: str, *, ready: bool) -> str:
    """The text of a dyno.yaml. ``ready`` is true for a starter, whose other process types are commented out."""
    return "\n".join(_lines(suggestion, name, ready=ready)) + "\n"


def _lines(suggestion: Suggestion, name: str, *, ready: bool) -> Iterator[str]:
    yield "# How this app runs. Edit servers, then run: dynoctl validate, dynoctl plan, dynoctl apply."
    for note in suggestion.notes:
        yield f"# Note: {note}"
    yield "version: 1"
    yield ""
    yield "app:"
    yield f"  name: {name}"
    yield "  source: . # built into the slug, which is read-only; .slugignore excludes files"
    if suggestion.build:
        yield "  build: # runs in a clean copy of the source"
        yield from (f"    - {_quoted(command)}" for command in suggestion.build)
    if suggestion.builder:
        yield "builder: server-1 # the server that builds the slug; default: the local machine"
    elif suggestion.build:
        yield "# builder: server-1 # build on a server if gems have native extensions"
    yield ""
    if suggestion.ruby:
        yield f"ruby: {{version: {_quoted(suggestion.ruby)}}} # checked on every server before anything changes"
    yield f"app_server: {{name: {suggestion.server}}} # one of: thin, puma, unicorn"
    if suggestion.rackup:
        yield f"rackup: {suggestion.rackup}"
    if suggestion.framework:
        yield f"framework: {{{', '.join(f'{key}: {value}' for key, value in suggestion.framework.items())}}}"
    if suggestion.middleware:
        yield ""
        yield "middleware:"
        yield from (f"  {line}" for line in suggestion.middleware)
    yield ""
    yield "dynos:"
    yield "  web: 2 # each dyno has a quarter of a core, 512 MiB and its own unix user"
    mark = "  # " if ready else "  "
    yield from (f"{mark}{type_}: {{count: 1, command: {_quoted(line)}}}" for type_, line in suggestion.types.items())
    yield ""
    if suggestion.release:
        yield f"release_command: {_quoted(suggestion.release)} # runs once for each new release, before any dyno moves"
        yield ""
    yield from _environment(suggestion)
    yield from _backings(suggestion)
    yield "servers: # your servers; log in as root or as a user with passwordless sudo"
    yield "  - {name: server-1, host: 192.0.2.11}"
    yield "  # - {name: server-2, host: 192.0.2.12}"
    yield "ssh: {user: root}"


def _environment(suggestion: Suggestion) -> Iterator[str]:
    if suggestion.framework.get("name") == "rails":
        name, file = ("RAILS_MASTER_KEY", "config/master.key") if suggestion.credentials else SECRET
        yield "env:"
        yield f"  {name}: {{from_file: {file}}} # never shown; keep the file out of git"
        yield ""


def _backings(suggestion: Suggestion) -> Iterator[str]:
    """The database and the cache, commented out unless a gem for them was found."""
    database, cache = suggestion.database or "postgresql", suggestion.cache or "redis"
    comment = "" if suggestion.database else "# "
    yield f"{comment}database: {{adapter: {database}, url: {{from_env: DATABASE_URL}}}} # or host, name, user, password"
    comment = "" if suggestion.cache else "# "
    variable = "CACHE_URL" if cache == "memcached" else "REDIS_URL"
    yield f"{comment}cache: {{adapter: {cache}, url: {{from_env: {variable}}}}}"
    yield ""


def _quoted(text: str) -> str:
    """A YAML scalar that is read as this string."""
    return text if re.fullmatch(r"[A-Za-z][\w ./=-]*[\w]", text) else json.dumps(text, ensure_ascii=False)
