"""The text of a dyno.yaml from a suggestion: short, in the order of the reference, with comments where a key is new."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stacks.sources.found import Machine, Process, plain
from stacks.suggestion import Suggestion

LONGEST_NAME = 16
LONGEST_USER = 32
"""Characters of a user name, which is ``dyno-APP-TYPE-NUMBER``."""

_PLACE = "  - {name: server-1, host: 192.0.2.11}"
_EXAMPLE = (Machine("192.0.2.11"), Machine("192.0.2.12"))
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan"}


def app_name(directory: str) -> str:
    """A valid app name from the name of a directory, at most 16 characters."""
    parts = re.findall(r"[a-z0-9]+", directory.lower())
    while parts and parts[0][0].isdigit():
        parts[0] = parts[0].lstrip("0123456789")
        if not parts[0]:
            parts.pop(0)
    name = "-".join(parts)[:LONGEST_NAME].strip("-")
    return name or "app"


def fitting(name: str, suggestion: Suggestion) -> str:
    """The name, shortened so that the user names of all dynos are short enough."""
    dynos = {"web": suggestion.web, **suggestion.types, **{one.name: Process() for one in suggestion.schedules}}
    longest = max(len(f"dyno--{type_}-{max(1, process.count or 1)}") for type_, process in dynos.items())
    return name[: max(1, LONGEST_USER - longest)].strip("-")


def render(suggestion: Suggestion, name: str, *, ready: bool) -> str:
    """The text of a dyno.yaml. ``name`` is that of the app if no file has one; ``ready`` is true for a starter, whose
    other process types are commented out."""
    wanted = app_name(suggestion.name) if suggestion.name else name
    fits = fitting(wanted, suggestion)
    notes = list(suggestion.notes)
    if (suggestion.name and fits != suggestion.name) or fits != wanted:
        instead = plain(suggestion.name[:80]) or wanted
        notes.append(f"app.name is {fits} instead of {instead}: it is a part of user names, which are short")
    return "\n".join(_lines(suggestion, fits, notes, ready=ready)) + "\n"


def lacks_servers(text: str) -> bool:
    """Whether the servers in a rendered text are those of the example."""
    return _PLACE in text.splitlines()


def notes_of(text: str) -> list[str]:
    """The notes in a rendered text, for the terminal."""
    return [line.removeprefix("# Note: ") for line in text.splitlines() if line.startswith("# Note: ")]


def quoted(text: str) -> str:
    """A YAML scalar that is read as this string, also inside of a flow mapping."""
    if re.fullmatch(r"\.?[A-Za-z][\w ./=-]*\w", text, re.ASCII) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(_escaped(char) for char in text) + '"'


def word(text: str) -> str:
    """A name, a path or an address as YAML: quoted if it would be read as a number or a boolean."""
    address = re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", text)
    name = re.fullmatch(r"[A-Za-z_][\w./-]*", text, re.ASCII) and text.lower() not in _WORDS
    return text if address or name else quoted(text)


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\U{ord(char):08x}"


def _lines(suggestion: Suggestion, name: str, notes: list[str], *, ready: bool) -> Iterator[str]:
    todo = "Edit servers, then run" if not suggestion.machines else "Check it, then run"
    yield f"# How this app runs. {todo}: dynoctl validate, dynoctl plan, dynoctl apply."
    for note in notes:
        yield f"# Note: {plain(note)}"
    yield "version: 1"
    yield ""
    yield "app:"
    yield f"  name: {word(name)}"
    yield "  source: . # built into the slug, which is read-only; .slugignore excludes files"
    if suggestion.build:
        yield "  build: # runs in a clean copy of the source"
        yield from (f"    - {quoted(command)}" for command in suggestion.build)
    if suggestion.builder:
        yield "builder: server-1 # the server that builds the slug; default: the local machine"
    elif suggestion.build:
        yield f"# builder: {_names(suggestion)[0]} # build on a server if gems have native extensions"
    yield ""
    yield from _layers(suggestion)
    yield "dynos:"
    yield from _dynos(suggestion, ready=ready)
    yield ""
    for schedule in suggestion.schedules:
        if schedule == suggestion.schedules[0]:
            yield "schedule: # in UTC"
        yield f"  - {{name: {word(schedule.name)}, cron: {quoted(schedule.cron)}, command: {quoted(schedule.command)}}}"
    if suggestion.schedules:
        yield ""
    if suggestion.release:
        yield f"release_command: {quoted(suggestion.release)} # runs once for each new release, before any dyno moves"
        yield ""
    elif suggestion.migrates:
        yield f"# release_command: {suggestion.migrates} # would run once for each new release, before any dyno moves"
        yield ""
    yield from _rollout(suggestion)
    yield from _environment(suggestion)
    yield from _backings(suggestion)
    yield from _volumes(suggestion)
    yield from _servers(suggestion)


def _layers(suggestion: Suggestion) -> Iterator[str]:
    if suggestion.ruby:
        yield f"ruby: {{version: {quoted(suggestion.ruby)}}} # checked on every server before anything changes"
    if suggestion.packages:
        yield f"packages: [{', '.join(map(word, suggestion.packages))}] # Debian packages that the app needs"
    if suggestion.options:
        options = ", ".join(f"{key}: {str(value).lower()}" for key, value in suggestion.options.items())
        yield f"app_server: {{name: {suggestion.server}, options: {{{options}}}}}"
    else:
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


def _dynos(suggestion: Suggestion, *, ready: bool) -> Iterator[str]:
    limits = _limits(suggestion.web)
    count = suggestion.web.count if suggestion.web.count is not None else 2
    if limits:
        yield f"  web: {{count: {count}, {limits}}} # each dyno has its own unix user"
    else:
        yield f"  web: {count} # each dyno has a quarter of a core, 512 MiB and its own unix user"
    mark = "  # " if ready else "  "
    for type_, process in suggestion.types.items():
        limits = _limits(process)
        number = process.count if process.count is not None else 1
        command = f"command: {quoted(process.command)}"
        yield f"{mark}{word(type_)}: {{count: {number}, {command}{', ' if limits else ''}{limits}}}"


def _limits(process: Process) -> str:
    keys = []
    if process.cpu is not None:
        keys.append(f"cpu: {process.cpu:g}")
    if process.memory:
        keys.append(f"memory: {process.memory}")
    if process.stop_timeout is not None:
        keys.append(f"stop_timeout: {process.stop_timeout}")
    return ", ".join(keys)


def _rollout(suggestion: Suggestion) -> Iterator[str]:
    keys = []
    if suggestion.max_parallel is not None:
        keys.append(f"max_parallel: {suggestion.max_parallel}")
    if suggestion.deadline is not None:
        keys.append(f"healthy_deadline: {suggestion.deadline}")
    if suggestion.health:
        keys.append(f"health: {{path: {quoted(suggestion.health)}}}")
    if keys:
        yield f"rollout: {{{', '.join(keys)}}}"
    if suggestion.keep is not None:
        yield f"keep: {suggestion.keep} # releases to roll back to"
    if keys or suggestion.keep is not None:
        yield ""


def _environment(suggestion: Suggestion) -> Iterator[str]:
    if not suggestion.env and not suggestion.secrets:
        return
    yield "env:"
    yield from (f"  {word(name)}: {quoted(value)}" for name, value in suggestion.env.items())
    for name, secret in suggestion.secrets.items():
        if secret.file:
            yield f"  {word(name)}: {{from_file: {quoted(secret.file)}}} # never shown; keep the file out of git"
        else:
            yield f"  {word(name)}: {{from_env: {word(name)}}}"
    yield ""


def _backings(suggestion: Suggestion) -> Iterator[str]:
    """The database and the cache, commented out unless the app has a gem for them."""
    database, cache = suggestion.database, suggestion.cache
    told = {*suggestion.env, *suggestion.secrets}
    if database is not None and database.path:
        yield f"database: {{adapter: {database.adapter}, path: {word(database.path)}}}"
    elif database is not None:
        keys = f"adapter: {database.adapter}, url: {{from_env: {database.variable}}}"
        yield f"database: {{{keys}}} # or host, name, user, password"
    elif not suggestion.volumes and not suggestion.packages and not told & {"DATABASE_URL"}:
        yield "# database: {adapter: postgresql, url: {from_env: DATABASE_URL}} # or host, name, user, password"
    if suggestion.databases:
        yield "databases: # each sets a variable such as QUEUE_DATABASE_URL"
    for name, entry in suggestion.databases.items():
        yield f"  {word(name)}: {{adapter: {entry.adapter}, path: {word(entry.path)}}}"
    if cache is not None:
        yield f"cache: {{adapter: {cache.adapter}, url: {{from_env: {cache.variable}}}}}"
    elif not any("REDIS" in name or "MEMCACHE" in name for name in told):
        yield "# cache: {adapter: redis, url: {from_env: REDIS_URL}}"
    yield ""


def _volumes(suggestion: Suggestion) -> Iterator[str]:
    for volume in suggestion.volumes:
        if volume == suggestion.volumes[0]:
            yield "volumes: # directories that outlive a dyno, each on one server"
        types = f", types: [{', '.join(map(word, volume.types))}]" if volume.types else ""
        yield f"  - {{name: {word(volume.name)}, path: {word(volume.path)}{types}}}"
    if suggestion.volumes:
        yield ""


def _servers(suggestion: Suggestion) -> Iterator[str]:
    names, login = _names(suggestion), suggestion.login
    user = login.user or "root"
    yield "servers: # your servers; log in as root or as a user with passwordless sudo"
    for name, machine in zip(names, suggestion.machines, strict=False):
        keys = [f"name: {name}", f"host: {word(machine.host)}"]
        if machine.user and machine.user != user:
            keys.append(f"user: {word(machine.user)}")
        port = machine.port or login.port
        if port and port != 22:
            keys.append(f"port: {port}")
        yield f"  - {{{', '.join(keys)}}}"
    if not suggestion.machines:
        yield _PLACE
        yield "  # - {name: server-2, host: 192.0.2.12}"
    ssh = [f"user: {word(user)}"]
    if login.gateway:
        ssh.append(f"gateway: {quoted(login.gateway)}")
    yield f"ssh: {{{', '.join(ssh)}}}"
    yield from _router(suggestion, names)


def _router(suggestion: Suggestion, names: list[str]) -> Iterator[str]:
    route = suggestion.route
    if route is not None:
        fronts = [
            name
            for name, machine in zip(names, suggestion.machines, strict=False)
            if not machine.roles or {"web", "app"} & set(machine.roles)
        ]
        tls = f", tls: {{acme: {route.acme}}}" if route.acme else ""
        tls += f", timeout: {route.timeout}" if route.timeout else ""
        servers = ", ".join(fronts or names[:1])
        yield f"router: {{kind: {route.kind}, servers: [{servers}], hosts: [{', '.join(map(word, route.hosts))}]{tls}}}"
    elif suggestion.routed:
        yield "# router: {kind: caddy, servers: [server-1], hosts: [www.example.com], tls: {acme: you@example.com}}"


def _names(suggestion: Suggestion) -> list[str]:
    """A name for each server: the first label of its host name, or server-N."""
    names: list[str] = []
    for number, machine in enumerate(suggestion.machines or _EXAMPLE[:1], 1):
        label = re.match(r"([A-Za-z][A-Za-z0-9-]{0,40})\.", machine.host)
        name = label[1].rstrip("-") if label and ":" not in machine.host else f"server-{number}"
        names.append(word(name) if word(name) not in names else f"server-{number}")
    return names
