"""Combine the layers of a dyno: from a manifest to the command and environment that systemd starts it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.manifest.model import Json, Manifest, Writable
from infra.model.volume import PACKAGE, PROGRAM
from stacks.contract import AppServer, Boot, Entry, Framework, Listen, Seen, StackError, Stop
from stacks.rackup import PATH, rackup
from stacks.registry import STACKS, Registry
from stacks.requirement import parse
from stacks.ruby import SYSTEM, Ruby

ENVIRONMENT: Mapping[str, str] = {
    # Without it, Ruby reads source files as US-ASCII.
    "LANG": "C.UTF-8",
    "HOME": "/tmp",  # noqa: S108 - each dyno has a private /tmp, the only directory that is always writable
    "RACK_ENV": "production",
    "RAILS_ENV": "production",
    "RAILS_LOG_TO_STDOUT": "1",
}
"""The environment of every dyno, without PORT and DYNO, which differ between dynos."""


CONFIG = "/app/.dynoctl/server.rb"
"""The path of the app server's configuration file in a dyno."""


@dataclass(frozen=True)
class Launch:
    """How a dyno starts.

    ``rackup`` and ``config`` are the texts of the files that are bound at ``stacks.rackup.PATH`` and ``CONFIG``.
    ``programs`` are absolute paths that must exist on the server; ``packages`` are the Debian packages that provide
    them and everything they need. ``writable`` are directories of the slug that a dyno may write to.
    ``environment`` excludes PORT and DYNO; the manifest's ``env`` overrides it.
    """

    ruby: Ruby
    app_server: AppServer
    options: Mapping[str, Json]
    environment: Mapping[str, str]
    rackup: str
    config: str
    programs: tuple[str, ...]
    packages: tuple[str, ...]
    writable: tuple[Writable, ...]

    @property
    def stop(self) -> Stop:
        """How to stop a dyno gracefully."""
        return self.app_server.stop

    def argv(self, listen: Listen) -> tuple[str, ...]:
        """The command of the web dyno that listens on ``listen``."""
        boot = Boot(PATH, CONFIG, listen, self.environment["RACK_ENV"])
        return self.ruby.run(self.app_server.name, *self.app_server.arguments(self.options, boot))


def launch(manifest: Manifest, stacks: Registry = STACKS) -> Launch:
    """How the dynos of the manifest start.

    Raises StackError with the path in the manifest if the layers cannot be combined.
    """
    app_server = _app_server(manifest, stacks)
    framework = _framework(manifest, stacks)
    if framework is not None:
        framework.check(manifest)
    _version(manifest)
    ruby = Ruby(manifest.ruby.path or SYSTEM, manifest.ruby.bundler)
    environment = {**ENVIRONMENT, **ruby.environment, **(framework.environment if framework else {})}
    environment["RACK_ENV"] = _rack_env(manifest)
    limited = any(volume.size for volume in manifest.volumes)
    packages = ruby.packages(manifest, app_server.name, framework.packages if framework else ("ruby-rack",))
    return Launch(
        ruby=ruby,
        app_server=app_server,
        options=manifest.app_server.options,
        environment=environment,
        rackup=rackup(
            manifest.middleware, _app(manifest, framework), idle=any(type_.idle for type_ in manifest.dynos.values())
        ),
        config=app_server.config(manifest.app_server.options),
        programs=(*ruby.programs(app_server.name), *([PROGRAM] if limited else [])),
        packages=tuple(sorted({*packages, *([PACKAGE] if limited else [])})),
        writable=_writable(manifest, framework),
    )


def files(manifest: Manifest, stacks: Registry = STACKS) -> Sequence[str]:
    """The files of the source that ``look`` reads."""
    framework = _framework(manifest, stacks)
    return () if framework is None else framework.files(manifest)


def look(manifest: Manifest, texts: Mapping[str, str], stacks: Registry = STACKS) -> Seen:
    """What the framework sees in the source, from the texts of the files that exist."""
    framework = _framework(manifest, stacks)
    return Seen() if framework is None else framework.look(manifest, texts)


def _app_server(manifest: Manifest, stacks: Registry) -> AppServer:
    name = manifest.app_server.name
    if name not in stacks.app_servers:
        raise StackError("app_server/name", f"unknown app server {name}", _choices(stacks.app_servers))
    server = stacks.app_servers[name]
    for key, value in manifest.app_server.options.items():
        path = f"app_server/options/{key}"
        if key not in server.options:
            raise StackError(path, f"unknown option {key} of {name}", _choices(server.options))
        option = server.options[key]
        if not option.accepts(value):
            least = f" of at least {option.minimum}" if option.type == "integer" else ""
            article = "an" if option.type == "integer" else "a"
            raise StackError(
                path, f"invalid value for {key}: {value!r} is not {article} {option.type}{least}", option.description
            )
    return server


def _framework(manifest: Manifest, stacks: Registry) -> Framework | None:
    if manifest.framework is None:
        return None
    name = manifest.framework.name
    if name not in stacks.frameworks:
        raise StackError("framework/name", f"unknown framework {name}", _choices(stacks.frameworks))
    return stacks.frameworks[name]


def _app(manifest: Manifest, framework: Framework | None) -> Entry | str:
    if manifest.rackup is not None:
        return manifest.rackup
    if framework is not None and manifest.framework is not None:
        return framework.entry(manifest.framework)
    raise StackError("", "missing key 'framework' or 'rackup'", "Add framework or rackup.")


def _rack_env(manifest: Manifest) -> str:
    """RACK_ENV, which must not be sensitive because it is passed on the command line of the app server."""
    value = manifest.env.get("RACK_ENV", ENVIRONMENT["RACK_ENV"])
    if isinstance(value, str):
        return value
    raise StackError("env/RACK_ENV", "RACK_ENV cannot be a reference", "Write the value, such as RACK_ENV: production.")


def _writable(manifest: Manifest, framework: Framework | None) -> tuple[Writable, ...]:
    found = {path: Writable(path) for path in (framework.writable if framework else ())}
    found |= {entry.path: entry for entry in manifest.app.writable}
    return tuple(found[path] for path in sorted(found))


def _version(manifest: Manifest) -> None:
    try:
        parse(manifest.ruby.version)
    except ValueError as error:
        raise StackError("ruby/version", str(error)) from error


def _choices(names: Mapping[str, object]) -> str:
    return f"One of: {', '.join(sorted(names))}"
