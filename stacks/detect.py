"""Suggest a manifest for an existing app, from the text of the files that say how it runs. Nothing is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from stacks import detect_backings, detect_processes
from stacks.sources import database_yml, registry, web_command
from stacks.sources.found import Found, Login, Note, Secret
from stacks.sources.procfile import helper
from stacks.suggestion import Route, Rules, Suggestion

_APP = "app.rb"
_RACKUP = "config.ru"

FILES = (*registry.FILES, _RACKUP, _APP, database_yml.FILE)
"""The files that are read, if they exist. A name may hold a ``*``; a directory ends in a slash."""

PLATFORMS = registry.PLATFORMS

_CLASS = re.compile(r"^[ \t]*class\s+([A-Z]\w*(?:::[A-Z]\w*)*)\s*<\s*Sinatra::(?:Base|Application)\b", re.MULTILINE)
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "puma": (
        "threads",
        "min_threads",
        "workers",
        "preload",
        "first_data_timeout",
        "persistent_timeout",
        "worker_timeout",
    ),
    "unicorn": ("workers", "timeout", "preload"),
    "thin": (),
}
_DEFAULTS: Mapping[str, int | bool] = {
    "min_threads": 0,
    "preload": False,
    "first_data_timeout": 30,
    "persistent_timeout": 20,
    "worker_timeout": 60,
    "timeout": 60,
}
SECRET_KEY = Secret(".dyno/secret_key_base")
"""The key that Rails signs sessions with, in the file in which ``init`` stores a generated one."""


ANYTHING = Rules()
"""Rules for which every variable and every cron expression is right."""


def detect(files: Mapping[str, str], platform: str = "", rules: Rules = ANYTHING) -> Suggestion | None:
    """The suggestion for these files (text by name; directories have any text), or None if there is no Rack app.

    ``platform`` is a choice of ``init --from``; "" is the first platform that has a file."""
    files = {name: text.replace("\0", "") for name, text in files.items()}
    found = detect_processes.without_secrets(registry.read(files, platform))
    framework, rackup = _framework(files, found)
    if not framework and not rackup:
        return None
    rails = framework.get("name") == "rails"
    server, options, notes = _server(found, rails=rails)
    secrets, env = dict(found.secrets), dict(found.env)
    if rails:
        _rails_key(secrets, env)
    backings = detect_backings.backings(files, found, rails=rails)
    secrets = {name: secret for name, secret in {**secrets, **backings.secrets}.items() if name not in backings.sets}
    env, env_notes = _environment(env, secrets, options, rules, backings)
    processes = detect_processes.processes(found, backings, rules)
    route, routed, route_notes = _route(found)
    build = tuple(_build(files, found, rails=rails))
    program = "bundle exec rails" if found.locked else "bin/rails"
    whole = (*found.notes, *notes, *env_notes, *backings.notes, *processes.notes, *route_notes)
    suggestion = Suggestion(
        name=found.name,
        framework=framework,
        rackup=rackup,
        server=server,
        options=options,
        ruby=found.ruby,
        database=backings.database,
        databases=backings.databases,
        cache=backings.cache,
        build=build,
        packages=tuple(dict.fromkeys((*found.packages, *backings.packages))),
        web=processes.web,
        types=processes.types,
        release=found.release,
        migrates=f"{program} db:{'prepare' if backings.databases else 'migrate'}"
        if rails and backings.database
        else "",
        env=env,
        secrets=secrets,
        health=found.health,
        deadline=None if found.deadline is None or found.deadline == 60 else min(found.deadline, 3600),
        max_parallel=None if found.max_parallel == 1 else found.max_parallel,
        volumes=processes.volumes,
        schedules=processes.schedules,
        machines=tuple(replace(one, user=_user(one.user), port=_port(one.port)) for one in found.machines),
        login=_login(found.login),
        route=route,
        routed=routed,
        keep=None if found.keep == 5 else found.keep,
        notes=tuple(dict.fromkeys(str(note) for note in whole)),
    )
    return replace(suggestion, notes=(*suggestion.notes, *_values(suggestion), *_no_lock(files)))


def _framework(files: Mapping[str, str], found: Found) -> tuple[dict[str, str], str]:
    rackup = _RACKUP if _RACKUP in files else ""
    application = files.get("config/application.rb", "")
    if "config/application.rb" in files and (
        {"rails", "railties"} & found.gems.keys() or "Rails::Application" in application
    ):
        return {"name": "rails"}, ""
    app = "\n".join(line for line in files.get(_APP, "").splitlines() if not line.lstrip().startswith("#"))
    sinatra = "sinatra" in found.gems or re.search(r"""^[ \t]*require\s+["']sinatra""", app, re.MULTILINE)
    if rackup:
        return ({"name": "sinatra"} if sinatra else {}), rackup
    if not sinatra or not app:
        return {}, ""
    named = _CLASS.search(app)
    return {"name": "sinatra", "require": "./app", "app": named[1] if named else "Sinatra::Application"}, ""


def _server(found: Found, *, rails: bool) -> tuple[str, dict[str, int | bool], list[Note]]:
    """The app server: the one of the web command, of a plugin or of a configuration file if the bundle has it, else the
    one of the bundle."""
    web = found.processes.get("web")
    command = "" if web is None else web.command
    named = web_command.server_of(command) or found.server
    has = [name for name in web_command.SUPPORTED if name in found.gems]
    if named in web_command.SUPPORTED and (named in has or (not found.locked and not has)):
        server = named
    else:
        server = next(
            iter(has), named if named in web_command.SUPPORTED else "puma" if rails or found.locked else "thin"
        )
    notes = []
    if named and named != server:
        why = "the bundle does not have it" if named in web_command.SUPPORTED else "it is not supported"
        where = web.where if web is not None and web_command.server_of(command) else Note("")
        notes.append(Note(f"{named} is replaced by {server}: {why}", where.file, where.line))
    if found.locked and server not in found.gems:
        notes.append(Note(f"the bundle has no app server: bundle add {server}", "Gemfile.lock"))
    settings = {**found.options, **web_command.options(command)}
    values = web_command.replaced(settings, found.env)
    if (
        server == "puma"
        and "workers" not in settings
        and re.fullmatch(r"\d{1,3}", found.env.get("WEB_CONCURRENCY", ""))
    ):
        values["workers"] = int(found.env["WEB_CONCURRENCY"])
    options = {name: values[name] for name in _OPTIONS[server] if name in values}
    if server == "unicorn" and found.server == "puma":
        options = {}
    if server == "puma" and int(options.get("workers", 0)) > 1:
        options.setdefault("preload", True)  # Puma's own default
    if not options.get("workers", 1):
        options = {
            name: value for name, value in options.items() if name not in ("workers", "preload", "worker_timeout")
        }
    if "min_threads" in options and options["min_threads"] > options.get("threads", 5):
        options["min_threads"] = options.get("threads", 5)
    kept = {name: value for name, value in options.items() if value != _DEFAULTS.get(name)}
    return server, {name: value for name, value in kept.items() if isinstance(value, bool) or value > 0}, notes


def _rails_key(secrets: dict[str, Secret], env: Mapping[str, str]) -> None:
    """Rails needs SECRET_KEY_BASE, or RAILS_MASTER_KEY for its credentials, which hold one."""
    if {"SECRET_KEY_BASE", "RAILS_MASTER_KEY"} & env.keys():
        return
    if "SECRET_KEY_BASE" in secrets and secrets.get("RAILS_MASTER_KEY", Secret()).file:
        del secrets["RAILS_MASTER_KEY"]  # the platform did without
    if not {"SECRET_KEY_BASE", "RAILS_MASTER_KEY"} & secrets.keys():
        secrets["SECRET_KEY_BASE"] = SECRET_KEY


def _environment(
    env: Mapping[str, str],
    secrets: dict[str, Secret],
    options: Mapping[str, int | bool],
    rules: Rules,
    backings: detect_backings.Backings,
) -> tuple[dict[str, str], list[Note]]:
    """The variables that are written, and why others are not."""
    kept: dict[str, str] = {}
    notes = []
    for name in [*env, *secrets]:
        reason = rules.refused(name)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,200}", name):
            reason = "its name is invalid"
        if name == "RACK_ENV" and name in secrets:
            reason = "it is production by default, and cannot be a reference"
        if reason:
            secrets.pop(name, None)
            notes.append(Note(f"variable {name[:80]} is left out: {reason}"))
        elif name in env and name not in backings.sets and name not in secrets:
            if name == "WEB_CONCURRENCY" and "workers" in options:
                continue
            if name == "SOLID_QUEUE_IN_PUMA":
                notes.append(Note(f"variable {name} is left out: the queue is a process type of its own"))
                continue
            kept[name] = env[name].replace("\0", "")
    return kept, notes


def _build(files: Mapping[str, str], found: Found, *, rails: bool) -> Iterator[str]:
    bundle = "Gemfile.lock" in files
    if bundle:
        yield "bundle config set --local path vendor/bundle"
        yield "bundle config set --local without development:test"
        yield "bundle install"
    yield from (command for command in found.build if not helper(command))
    if rails and any(name in files for name in ("app/assets", "app/javascript")):
        yield f"SECRET_KEY_BASE=none {'bundle exec rails' if bundle else 'bin/rails'} assets:precompile"


def _route(found: Found) -> tuple[Route | None, bool, list[Note]]:
    if not found.hosts:
        return None, found.routed, []
    timeout = None if found.timeout in (None, 30) else min(found.timeout or 30, 3600)
    if not found.tls:
        return Route("nginx", found.hosts, "", timeout), False, []
    contact = f"hostmaster@{found.hosts[0]}"
    note = Note(f"router.tls.acme is the contact for the certificate authority: change it if nobody reads {contact}")
    return Route("caddy", found.hosts, contact, timeout), False, [note]


def _login(login: Login) -> Login:
    """The login without what the manifest does not allow."""
    gateway = login.gateway
    if not re.fullmatch(r"([a-z_][a-z0-9_.-]{0,31}@)?[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?", gateway):
        gateway = ""
    return Login(_user(login.user), gateway, _port(login.port))


def _user(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_.-]{0,31}", name) else ""


def _port(number: int | None) -> int | None:
    return number if number is not None and 0 < number < 65536 else None


def _values(suggestion: Suggestion) -> Iterator[str]:
    """Where the values of the references come from."""
    both = (suggestion.database, suggestion.cache)
    backings = [backing.variable for backing in both if backing is not None and backing.variable]
    names = [*(name for name, secret in suggestion.secrets.items() if not secret.file), *backings]
    if names:
        yield f"put a line NAME=value into .dyno/secrets (mode 0600) for each of: {', '.join(dict.fromkeys(names))}"
    files = [secret.file for secret in suggestion.secrets.values() if secret.file and secret != SECRET_KEY]
    for file in dict.fromkeys(files):
        yield f"{file} must exist where dynoctl runs; it is never in the slug"


def _no_lock(files: Mapping[str, str]) -> Iterator[str]:
    if "Gemfile" in files and "Gemfile.lock" not in files:
        yield str(
            Note(
                "there is no Gemfile.lock, so the gems of the distribution are used: for a bundle, run bundle lock",
                "Gemfile",
            )
        )
