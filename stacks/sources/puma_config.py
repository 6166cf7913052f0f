"""config/puma.rb: threads, workers and timeouts. dynoctl writes a configuration of its own, so they become options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stacks.sources.found import Found, Note, Setting
from stacks.sources.ruby_text import Statement, for_development, statements
from stacks.sources.ruby_values import Env, Unknown

_NUMBERS = {"workers", "first_data_timeout", "persistent_timeout", "worker_timeout"}
_FLOORS = {"worker_timeout": 6, "workers": 0}

_BY_DYNOCTL = {
    *("port", "environment", "pidfile", "state_path", "directory", "rackup", "daemonize", "quiet", "log_requests"),
    *("require", "silence_single_worker_warning", "raise_exception_on_sigterm", "debug", "require_relative", "tag"),
}
"""Settings that dynoctl or systemd makes itself, and settings without an effect here."""

_WHY: Mapping[str, str] = {
    "bind": "systemd gives a dyno its socket; a router reaches it by its port",
    "ssl_bind": "TLS ends at the router: see router.tls",
    "activate_control_app": "a dyno writes no files outside of its writable directories; dynoctl restart restarts it",
    "stdout_redirect": "a dyno logs to stdout, and dynoctl logs shows it",
    "on_restart": "a dyno is started anew at each restart",
}
_PLUGINS: Mapping[str, str] = {
    "solid_queue": "the queue runs as a process type of its own, with the command bin/jobs",
    "tailwindcss": "it is for development",
    "yabeda": "set the port of the exporter in dynos.web.bind, and start it in an initializer",
}


class PumaConfig:
    """Puma's configuration file."""

    name = "puma"
    files: Sequence[str] = ("config/puma.rb", "puma.rb", "config/puma/production.rb")
    platform = False

    def read(self, files: Mapping[str, str]) -> Found:
        file = next((name for name in reversed(self.files) if name in files), "")
        if not file:
            return Found()
        options: dict[str, Setting] = {}
        notes: list[Note] = []
        for statement in statements(files[file]):
            hook = any(block.name not in ("if", "unless", "") for block in statement.inside)  # which is noted itself
            if hook or for_development(statement):
                continue
            _read(statement, file, options, notes)
        return Found(server="puma", options=options, notes=tuple(notes))


def _read(statement: Statement, file: str, options: dict[str, Setting], notes: list[Note]) -> None:
    name, args = statement.name, statement.args
    if name == "threads" and args:
        options["min_threads"] = setting(args[0], "threads", file, statement.line, notes, quiet=len(args) > 1)
        options["threads"] = setting(args[-1], "threads", file, statement.line, notes)
    elif name in _NUMBERS and args:
        found = setting(args[0], name, file, statement.line, notes)
        if isinstance(found.value, int) and found.value < _FLOORS.get(name, 1):
            found = Setting(None, found.variable)
        options.setdefault(name, found)
    elif name == "preload_app!":
        options["preload"] = Setting(args[0] is not False if args else True)
    elif name == "plugin" and args:
        why = _PLUGINS.get(str(args[0]), "dynoctl writes the configuration of the app server, without plugins")
        if args[0] != "tmp_restart":  # dynoctl restart does that
            notes.append(Note(f"plugin :{args[0]} is not carried over: {why}", file, statement.line))
    elif name in _WHY:
        notes.append(Note(f"{name} is not carried over: {_WHY[name]}", file, statement.line))
    elif (
        name and name.isidentifier() and name not in _BY_DYNOCTL and name not in ("if", "unless", "else", "puts")
    ) or name.endswith("!"):
        notes.append(Note(f"{name} is not carried over: app_server.options has no such option", file, statement.line))


def setting(value: object, name: str, file: str, line: int, notes: list[Note], *, quiet: bool = False) -> Setting:
    """A number as a setting. If only Ruby could compute it, the default of the option stays, and a note says so."""
    if isinstance(value, Env):
        default = value.default
        while isinstance(default, Env):
            default = default.default
        if isinstance(default, str) and default.isdecimal():
            default = int(default[:6])
        if isinstance(default, int) and not isinstance(default, bool):
            return Setting(default, value.variable)
        if isinstance(default, Unknown) and not quiet:
            notes.append(_computed(name, file, line))
        return Setting(None, value.variable)
    if isinstance(value, str) and value.isdecimal():
        value = int(value[:6])
    if isinstance(value, int) and not isinstance(value, bool):
        return Setting(value)
    if not quiet:
        notes.append(_computed(name, file, line))
    return Setting(None)


def _computed(name: str, file: str, line: int) -> Note:
    return Note(
        f"{name} is computed when the app starts, and not carried over: set app_server.options.{name}", file, line
    )
