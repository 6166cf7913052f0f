"""The starters: which apps ``init`` makes, and the dyno.yaml of those and of any app that was found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from stacks.detect import Suggestion

LONGEST_NAME = 16

SECRET = ("SECRET_KEY_BASE", ".dyno/secret_key_base")
"""What Rails signs its sessions with, and the file in which ``init`` puts one."""

SLUGIGNORE = """\
# What the app does not need to run stays out of the slug; the patterns are those of a .gitignore.
/.env*
/config/master.key
/log/
/tmp/
/node_modules/
"""
"""For an app that has none: secrets of a developer's machine, and what is only in the way."""

STARTERS: Mapping[str, Suggestion] = MappingProxyType(
    {
        "rails": Suggestion(
            framework={"name": "rails"},
            server="puma",
            ruby=">= 3.1",
            database="postgresql",  # Active Record does not boot without one
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
                "- use: Ping # answers /ping by itself: the app is never reached",
                "  require: ./lib/ping",
                "  args: [/ping]",
                "- map: /admin # a second app in the same process",
                "  require: ./admin",
                "  app: Admin",
            ),
        ),
        "rack": Suggestion(framework={"name": "rack", "require": "./app", "app": "App"}, ruby=">= 3.1"),
    }
)
"""By framework; the app itself is in the directory of that name below starters/."""


DEFAULT = "sinatra"
"""The starter of a new app where nobody names a framework."""


def app_name(directory: str) -> str:
    """A directory's name as an app's: lower-case words joined by dashes, at most 16 characters."""
    words = re.findall(r"[a-z0-9]+", directory.lower())
    while words and words[0][0].isdigit():
        words[0] = words[0].lstrip("0123456789")
        if not words[0]:
            words.pop(0)
    name = "-".join(words)[:LONGEST_NAME].strip("-")
    return name or "app"


def render(one: Suggestion, name: str, *, ready: bool) -> str:
    """The text of a dyno.yaml. ``ready``: it is a starter's, and its other process types are only shown."""
    return "\n".join(_lines(one, name, ready=ready)) + "\n"


def _lines(one: Suggestion, name: str, *, ready: bool) -> Iterator[str]:
    yield "# How this app runs. Edit servers, then: dynoctl validate, dynoctl plan, dynoctl apply."
    for note in one.notes:
        yield f"# Note: {note}"
    yield "version: 1"
    yield ""
    yield "app:"
    yield f"  name: {name}"
    yield "  source: . # becomes the slug: read-only, the same on every server; .slugignore works as .gitignore"
    if one.build:
        yield "  build: # runs in a clean copy, before anything changes on a server"
        yield from (f"    - {_quoted(command)}" for command in one.build)
    if one.builder:
        yield "builder: server-1 # builds on that server; without this line, on this machine"
    elif one.build:
        yield "# builder: server-1 # to build there and not here: gems with native parts must fit the servers"
    yield ""
    if one.ruby:
        yield f"ruby: {{version: {_quoted(one.ruby)}}} # checked on every server before anything changes"
    yield f"app_server: {{name: {one.server}}} # thin, puma or unicorn"
    if one.rackup:
        yield f"rackup: {one.rackup}"
    if one.framework:
        yield f"framework: {{{', '.join(f'{key}: {value}' for key, value in one.framework.items())}}}"
    if one.middleware:
        yield ""
        yield "middleware:"
        yield from (f"  {line}" for line in one.middleware)
    yield ""
    yield "dynos:"
    yield "  web: 2 # four dynos have the power of one core: each a quarter, 512 MB, and a unix user of its own"
    mark = "  # " if ready else "  "
    yield from (f"{mark}{type_}: {{count: 1, command: {_quoted(line)}}}" for type_, line in one.types.items())
    yield ""
    if one.release:
        yield f"release_command: {_quoted(one.release)} # once for each new release, before any dyno moves"
        yield ""
    yield from _environment(one)
    yield from _backings(one)
    yield "servers: # yours; a login that is root, or becomes root with sudo and no password"
    yield "  - {name: server-1, host: 192.0.2.11}"
    yield "  # - {name: server-2, host: 192.0.2.12}"
    yield "ssh: {user: root}"


def _environment(one: Suggestion) -> Iterator[str]:
    if one.framework.get("name") == "rails":
        name, file = ("RAILS_MASTER_KEY", "config/master.key") if one.credentials else SECRET
        yield "env:"
        yield f"  {name}: {{from_file: {file}}} # secret everywhere; keep that file out of git"
        yield ""


def _backings(one: Suggestion) -> Iterator[str]:
    """Where a gem of it was found, it is meant; where nothing is known, it is shown."""
    database, cache = one.database or "postgresql", one.cache or "redis"
    shown = "" if one.database else "# "
    yield f"{shown}database: {{adapter: {database}, url: {{from_env: DATABASE_URL}}}} # or host, name, user, password"
    shown = "" if one.cache else "# "
    variable = "CACHE_URL" if cache == "memcached" else "REDIS_URL"
    yield f"{shown}cache: {{adapter: {cache}, url: {{from_env: {variable}}}}}"
    yield ""


def _quoted(text: str) -> str:
    """A string that YAML reads as that string, whatever is in it."""
    return text if re.fullmatch(r"[A-Za-z][\w ./=-]*[\w]", text) else json.dumps(text, ensure_ascii=False)
