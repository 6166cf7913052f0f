"""Puts a dyno's layers together: from a manifest to what systemd is to start, in what environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.manifest.model import Json, Manifest
from stacks.contract import AppServer, Boot, Entry, Framework, Listen, StackError, Stop
from stacks.rackup import PATH, rackup
from stacks.registry import STACKS, Registry
from stacks.requirement import parse
from stacks.ruby import SYSTEM, Ruby

ENVIRONMENT: Mapping[str, str] = {
    # Without it Ruby reads source files as US-ASCII.
    "LANG": "C.UTF-8",
    "HOME": "/tmp",  # noqa: S108 - each dyno has a /tmp of its own, and nothing else that it can write
    "RACK_ENV": "production",
    "RAILS_ENV": "production",
    "RAILS_LOG_TO_STDOUT": "1",
}
"""What every dyno has beside PORT and DYNO, which differ from dyno to dyno."""


CONFIG = "/app/.dynoctl/server.rb"
"""Where a dyno finds its app server's configuration."""


@dataclass(frozen=True)
class Launch:
    """How a dyno starts.

    ``rackup`` and ``config`` are the texts of the files to be bound at ``stacks.rackup.PATH`` and ``CONFIG``.
    ``programs`` must be on the server, as absolute paths; ``packages`` are the Debian packages they come in, with
    everything that they need. ``writable`` are directories below the slug that a dyno may write to.
    ``environment`` is without PORT and DYNO; the manifest's ``env`` wins over it.
    """

    ruby: Ruby
    app_server: AppServer
    options: Mapping[str, Json]
    environment: Mapping[str, str]
    rackup: str
    config: str
    programs: tuple[str, ...]
    packages: tuple[str, ...]
    writable: tuple[str, ...]

    @property
    def stop(self) -> Stop:
        """How a dyno ends gracefully."""
        return self.app_server.stop

    def argv(self, listen: Listen) -> tuple[str, ...]:
        """The command of the web dyno that listens there."""
        boot = Boot(PATH, CONFIG, listen, self.environment["RACK_ENV"])
        return self.ruby.run(self.app_server.name, *self.app_server.arguments(self.options, boot))


def launch(manifest: Manifest, stacks: Registry = STACKS) -> Launch:
    """The launch of the manifest's dynos.

    Raises StackError, a ValueError with the place in the manifest, where the layers do not fit together.
    """
    app_server = _app_server(manifest, stacks)
    framework = _framework(manifest, stacks)
    if framework is not None:
        framework.check(manifest)
    _version(manifest)
    ruby = Ruby(manifest.ruby.path or SYSTEM, manifest.ruby.bundler)
    environment = {**ENVIRONMENT, **ruby.environment, **(framework.environment if framework else {})}
    environment["RACK_ENV"] = _rack_env(manifest)
    return Launch(
        ruby=ruby,
        app_server=app_server,
        options=manifest.app_server.options,
        environment=environment,
        rackup=rackup(manifest.middleware, _app(manifest, framework)),
        config=app_server.config(manifest.app_server.options),
        programs=ruby.programs(app_server.name),
        packages=ruby.packages(manifest, app_server.name, framework.packages if framework else ("ruby-rack",)),
        writable=tuple(sorted({*manifest.app.writable, *(framework.writable if framework else ())})),
    )


def _app_server(manifest: Manifest, stacks: Registry) -> AppServer:
    name = manifest.app_server.name
    if name not in stacks.app_servers:
        raise StackError("app_server/name", f"there is no app server {name}", _among(stacks.app_servers))
    server = stacks.app_servers[name]
    for key, value in manifest.app_server.options.items():
        path = f"app_server/options/{key}"
        if key not in server.options:
            raise StackError(path, f"{name} has no option {key}", _among(server.options))
        option = server.options[key]
        if not option.accepts(value):
            least = f" of at least {option.minimum}" if option.type == "integer" else ""
            article = "an" if option.type == "integer" else "a"
            raise StackError(path, f"{value!r} is not {article} {option.type}{least}", option.description)
    return server


def _framework(manifest: Manifest, stacks: Registry) -> Framework | None:
    if manifest.framework is None:
        return None
    name = manifest.framework.name
    if name not in stacks.frameworks:
        raise StackError("framework/name", f"there is no framework {name}", _among(stacks.frameworks))
    return stacks.frameworks[name]


def _app(manifest: Manifest, framework: Framework | None) -> Entry | str:
    if manifest.rackup is not None:
        return manifest.rackup
    if framework is not None and manifest.framework is not None:
        return framework.entry(manifest.framework)
    raise StackError("", "neither framework nor rackup is given", "One of them says what the app is.")


def _rack_env(manifest: Manifest) -> str:
    """App servers take it on their command line, so it cannot be a secret."""
    value = manifest.env.get("RACK_ENV", ENVIRONMENT["RACK_ENV"])
    if isinstance(value, str):
        return value
    raise StackError("env/RACK_ENV", "it must be in the manifest itself", "Write it like RACK_ENV: production.")


def _version(manifest: Manifest) -> None:
    try:
        parse(manifest.ruby.version)
    except ValueError as error:
        raise StackError("ruby/version", str(error)) from error


def _among(names: Mapping[str, object]) -> str:
    return f"There is: {', '.join(sorted(names))}."
