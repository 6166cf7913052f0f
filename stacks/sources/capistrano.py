"""Capistrano: config/deploy.rb, the stage production and the Capfile, read as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from infra.manifest.addresses import is_no_ipv4
from stacks.sources.found import Found, Login, Machine, Note, Process, Secret, Setting, Volume, shortened
from stacks.sources.gemfile import minor, requirement
from stacks.sources.paths import in_app, volume_name
from stacks.sources.puma_config import setting
from stacks.sources.ruby_text import Statement, statements
from stacks.sources.ruby_values import Unknown
from stacks.sources.variables import in_the_clear

FILE = "config/deploy.rb"
STAGE = "config/deploy/production.rb"
CAPFILE = "Capfile"

_SILENT = {
    *("application", "repo_url", "branch", "deploy_to", "scm", "format", "format_options", "log_level", "pty", "user"),
    *("keep_releases", "linked_files", "linked_dirs", "ssh_options", "default_env", "rails_env", "stage", "stages"),
    *("migration_role", "migration_servers", "conditionally_migrate", "assets_roles", "assets_prefix", "local_user"),
    *("bundle_flags", "bundle_path", "bundle_without", "bundle_jobs", "bundle_binstubs", "bundle_config", "port"),
    *(
        "rbenv_type",
        "rbenv_ruby",
        "rbenv_prefix",
        "rbenv_map_bins",
        "rbenv_roles",
        "rbenv_path",
        "rvm_type",
        "default_stage",
    ),
    *(
        "rvm_ruby_version",
        "chruby_ruby",
        "puma_threads",
        "puma_workers",
        "puma_preload_app",
        "passenger_restart_with_touch",
    ),
    *("deploy_via", "use_sudo", "keep_assets", "server_name", "default_shell", "puma_bind", "puma_state", "puma_pid"),
    *(
        "puma_access_log",
        "puma_error_log",
        "puma_role",
        "puma_env",
        "puma_user",
        "puma_conf",
        "puma_init_active_record",
    ),
    *(
        "puma_systemctl_user",
        "puma_enable_socket_service",
        "puma_service_unit_name",
        "unicorn_pid",
        "unicorn_config_path",
    ),
    *("unicorn_rack_env", "sidekiq_role", "sidekiq_roles", "sidekiq_env", "sidekiq_log", "sidekiq_pid", "repository"),
}
"""Settings that are carried over, and settings of directories, logs and units that dynoctl has its own of."""

_GENERATED = re.compile(
    r"(log|tmp(/.*)?|\.bundle|vendor/bundle|node_modules|bin|public/(assets|packs|system/cache|vite)|\.cache)/?"
)
_LINKED_SECRETS: Mapping[str, tuple[str, str]] = {
    "config/master.key": ("RAILS_MASTER_KEY", ""),
    "config/credentials/production.key": ("RAILS_MASTER_KEY", ""),
    "config/database.yml": (
        "",
        "set the address in database, which sets DATABASE_URL; a copy with a password is not needed",
    ),
    "config/secrets.yml": ("", "give its values as references in env, and read them with ENV"),
}
_PLUGINS: Mapping[str, str] = {
    "capistrano/puma": "puma",
    "capistrano3/unicorn": "unicorn",
    "capistrano/unicorn": "unicorn",
    "capistrano/thin": "thin",
    "capistrano/passenger": "passenger",
}
_WORKERS: Mapping[str, tuple[str, str]] = {
    "capistrano/sidekiq": ("sidekiq", "bundle exec sidekiq"),
    "capistrano-resque": ("resque", "bundle exec rake environment resque:work QUEUE=*"),
    "capistrano/resque": ("resque", "bundle exec rake environment resque:work QUEUE=*"),
    "capistrano/delayed_job": ("worker", "bundle exec rake jobs:work"),
    "capistrano/good_job": ("worker", "bundle exec good_job start"),
}


class Capistrano:
    """Capistrano 3. Tasks and hooks are not carried over."""

    name = "capistrano"
    files: Sequence[str] = (FILE, STAGE, CAPFILE, "config/deploy/*.rb", "config/schedule.rb")
    platform = True

    def read(self, files: Mapping[str, str]) -> Found:
        settings: dict[str, tuple[object, str, int]] = {}
        machines: dict[str, Machine] = {}
        notes: list[Note] = []
        for file in (FILE, STAGE):
            for statement in statements(files.get(file, "")):
                _read(statement, file, settings, machines, notes)
        requires = [
            str(one.args[0]) for one in statements(files.get(CAPFILE, "")) if one.name == "require" and one.args
        ]
        notes += _stages(files)
        processes = _workers(requires, settings)
        if "config/schedule.rb" in files:
            text = "not read: it is a program; write its lines as schedule, as whenever --update-crontab prints them"
            notes.append(Note(text, "config/schedule.rb"))
        secrets, volumes = _linked(settings, notes)
        name, keep = settings.get("application", ("", "", 0))[0], settings.get("keep_releases", (None, "", 0))[0]
        migrates = any(one == "capistrano/rails" or one.startswith("capistrano/rails/migrations") for one in requires)
        env = settings.get("default_env", ({}, "", 0))
        values = dict(_environment(env, notes))
        variables = in_the_clear(values, dict.fromkeys(values, Note("", env[1], env[2])))
        return Found(
            name=name if isinstance(name, str) else "",
            ruby=_ruby(settings),
            server=next((_PLUGINS[one] for one in requires if one in _PLUGINS), ""),
            options=_options(settings, notes),
            processes=processes,
            release="bundle exec rails db:migrate" if migrates else "",
            env=variables.env,
            secrets={**secrets, **variables.secrets},
            machines=tuple(machines.values()),
            login=_login(settings, machines, notes),
            volumes=volumes,
            keep=min(max(keep, 1), 100) if isinstance(keep, int) else None,
            notes=(*notes, *variables.notes),
        )


def _read(
    statement: Statement,
    file: str,
    settings: dict[str, tuple[object, str, int]],
    machines: dict[str, Machine],
    notes: list[Note],
) -> None:
    name, args, line = statement.name, statement.args, statement.line
    if name in ("namespace", "task", "before", "after", "invoke") or any(
        block.name in ("namespace", "task", "before", "after", "on") for block in statement.inside
    ):
        if not statement.inside and name in ("namespace", "task", "before", "after"):
            what = f"{name} {shortened(str(args[0]))}" if args and isinstance(args[0], str) else name
            text = f"{what} is not carried over: there are no tasks; see app.build, release_command and dynoctl run"
            notes.append(Note(text, file, line))
        return
    if name in ("set", "append", "set_if_empty") and args:
        key = str(args[0])
        if name == "append":
            value: object = [entry for arg in args[1:] for entry in (arg if isinstance(arg, list) else [arg])]
            if isinstance(settings.get(key, (None,))[0], list):
                value = [*settings[key][0], *value]  # type: ignore[misc]  # both are lists
        else:
            value = (
                dict(statement.options) if len(args) == 1 and statement.options else args[1] if len(args) > 1 else None
            )
            if name == "set_if_empty" and key in settings:
                return
        settings[key] = (value, file, line)
        known = key in _SILENT or key.startswith(("sidekiq_", "whenever_", "nvm_", "yarn_", "npm_"))
        if not known:
            notes.append(Note(f"{shortened(key)} is not carried over: dynoctl has no such setting", file, line))
    elif name in ("server", "role") and args:
        _machines(statement, file, machines, notes)


def _machines(statement: Statement, file: str, machines: dict[str, Machine], notes: list[Note]) -> None:
    """``server HOST, roles: ...`` and ``role ROLE, HOSTS``. A host may be user@host:port."""
    if statement.name == "server":
        hosts = [statement.args[0]]
        roles = statement.options.get("roles", statement.options.get("role", []))
        roles = roles if isinstance(roles, list) else [roles]
    else:
        hosts = [host for arg in statement.args[1:] for host in (arg if isinstance(arg, list) else [arg])]
        roles = [statement.args[0]]
    for entry in hosts:
        found = re.fullmatch(
            r"(?:([a-z_][a-z0-9_.-]{0,31})@)?([A-Za-z0-9][A-Za-z0-9._-]{0,252})(?::(\d{1,5}))?", str(entry)
        )
        if found is None or isinstance(entry, Unknown) or is_no_ipv4(found[2]):
            text = "a server is computed, or invalid, and not carried over: add it to servers"
            notes.append(Note(text, file, statement.line))
            continue
        user, port = statement.options.get("user"), statement.options.get("port")
        number = int(found[3]) if found[3] else port
        before = machines.get(found[2], Machine(found[2]))
        machines[found[2]] = Machine(
            found[2],
            found[1] or (user if isinstance(user, str) else "") or before.user,
            number if isinstance(number, int) and 0 < number < 65536 else before.port,
            tuple(dict.fromkeys((*before.roles, *(str(role) for role in roles)))),
        )


def _stages(files: Mapping[str, str]) -> Iterator[Note]:
    for file in sorted(files):
        found = re.fullmatch(r"config/deploy/([\w-]{1,40})\.rb", file)
        if found and file != STAGE:
            yield Note(f"not read: write dyno.{found[1]}.yaml, and use it with -d {found[1]}", file)


def _ruby(settings: Mapping[str, tuple[object, str, int]]) -> str:
    for key in ("rbenv_ruby", "rvm_ruby_version", "chruby_ruby"):
        value = settings.get(key, (None,))[0]
        if isinstance(value, str):
            return minor(requirement(value.partition("@")[0]))
    return ""


def _options(settings: Mapping[str, tuple[object, str, int]], notes: list[Note]) -> dict[str, Setting]:
    options: dict[str, Setting] = {}
    if "puma_threads" in settings:
        value, file, line = settings["puma_threads"]
        bounds = value if isinstance(value, list) and len(value) == 2 else [value, value]
        options["min_threads"] = setting(bounds[0], "threads", file, line, notes, quiet=True)
        options["threads"] = setting(bounds[1], "threads", file, line, notes)
    if "puma_workers" in settings:
        value, file, line = settings["puma_workers"]
        options["workers"] = setting(value, "workers", file, line, notes)
    if settings.get("puma_preload_app", (None,))[0] is True:
        options["preload"] = Setting(True)
    return options


def _workers(requires: list[str], settings: Mapping[str, tuple[object, str, int]]) -> dict[str, Process]:
    found: dict[str, Process] = {}
    for plugin in requires:
        if plugin in _WORKERS:
            name, command = _WORKERS[plugin]
            concurrency = settings.get("sidekiq_concurrency", (None,))[0]
            if name == "sidekiq" and isinstance(concurrency, int):
                command += f" -c {concurrency}"
            count = settings.get("sidekiq_processes", (None,))[0] if name == "sidekiq" else None
            found[name] = Process(command, count if isinstance(count, int) and 1 <= count <= 100 else None)
    return found


def _linked(
    settings: Mapping[str, tuple[object, str, int]], notes: list[Note]
) -> tuple[dict[str, Secret], tuple[Volume, ...]]:
    """Shared files as references, and shared directories that hold data as volumes."""
    secrets: dict[str, Secret] = {}
    value, file, line = settings.get("linked_files", ([], "", 0))
    for entry in value if isinstance(value, list) else [value]:
        name, why = _LINKED_SECRETS.get(str(entry), ("", "copy what it holds to references in env or credentials"))
        if name:
            secrets[name] = Secret(str(entry))
            text = f"copy {entry} from the shared directory of a server to this directory; it is never in the slug"
            notes.append(Note(text, file, line))
        else:
            notes.append(Note(f"linked file {shortened(str(entry))} is not carried over: {why}", file, line))
    volumes: list[Volume] = []
    value, file, line = settings.get("linked_dirs", ([], "", 0))
    for entry in value if isinstance(value, list) else [value]:
        path, _ = in_app(str(entry))
        if isinstance(entry, Unknown) or not path:
            notes.append(Note("a linked directory is computed, or invalid, and not carried over", file, line))
        elif not _GENERATED.fullmatch(path):
            volumes.append(Volume(volume_name(path), path, ("web",)))
            text = f"copy shared/{path} to the volume {volume_name(path)} before the first apply"
            notes.append(Note(text, file, line))
    return secrets, tuple(volumes)


def _environment(setting_: tuple[object, str, int], notes: list[Note]) -> Iterator[tuple[str, str]]:
    value, file, line = setting_
    for name, text in value.items() if isinstance(value, dict) else ():
        if str(name).upper() in ("PATH", "RAILS_ENV", "RACK_ENV"):
            continue
        if isinstance(text, str | int) and not isinstance(text, bool) and re.fullmatch(r"[A-Za-z_]\w*", str(name)):
            yield str(name), str(text)
        else:
            notes.append(Note(f"{shortened(str(name))} is computed: add it to env", file, line))


def _login(
    settings: Mapping[str, tuple[object, str, int]], machines: Mapping[str, Machine], notes: list[Note]
) -> Login:
    options, file, line = settings.get("ssh_options", ({}, "", 0))
    options = options if isinstance(options, dict) else {}
    user = options.get("user") or settings.get("user", ("",))[0]
    users = {machine.user for machine in machines.values()}
    if not isinstance(user, str) or not user:
        user = users.pop() if len(users) == 1 else ""
    for name in ("keys", "proxy"):
        if name in options:
            text = f"{name} of ssh_options is not carried over: dynoctl reads ssh_config and uses the SSH agent"
            notes.append(Note(text, file, line))
    port = options.get("port")
    return Login(user, "", port if isinstance(port, int) else None)
