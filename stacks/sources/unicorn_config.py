"""config/unicorn.rb: workers, the timeout and preloading, which become options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stacks.sources.found import Found, Note, Setting
from stacks.sources.puma_config import setting
from stacks.sources.ruby_text import statements

_BY_DYNOCTL = {
    "working_directory",
    "pid",
    "user",
    "listen",
    "stderr_path",
    "stdout_path",
    "require",
    "logger",
    "check_client_connection",
}
_NAMES = {"worker_processes": "workers", "timeout": "timeout"}


class UnicornConfig:
    """Unicorn's configuration file."""

    name = "unicorn"
    files: Sequence[str] = ("config/unicorn.rb", "unicorn.rb", "config/unicorn/production.rb")
    platform = False

    def read(self, files: Mapping[str, str]) -> Found:
        file = next((name for name in reversed(self.files) if name in files), "")
        options: dict[str, Setting] = {}
        notes: list[Note] = []
        for statement in statements(files.get(file, "")):
            name, args = statement.name, statement.args
            if statement.inside:
                continue
            if name in _NAMES and args:
                options[_NAMES[name]] = setting(args[0], _NAMES[name], file, statement.line, notes)
            elif name == "preload_app" and args:
                options["preload"] = Setting(args[0] is True)
            elif name.isidentifier() and name not in _BY_DYNOCTL:
                why = "app_server.options has no such option"
                notes.append(Note(f"{name} is not carried over: {why}", file, statement.line))
        return Found(server="unicorn" if file else "", options=options, notes=tuple(notes))
