"""The Ruby VM: its program, how it runs the programs of gems, and the Debian packages of all layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from infra.manifest.model import Manifest

SYSTEM = "/usr/bin/ruby"
"""The Ruby of the distribution, the default of ``ruby.path``."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_LIBRARIES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "postgresql": ("ruby-pg", "libpq5"),
        "mysql": ("ruby-mysql2", "libmariadb3"),
        "mariadb": ("ruby-mysql2", "libmariadb3"),
        "redis": ("ruby-redis", ""),
        "memcached": ("ruby-dalli", ""),
        "sqlite": ("ruby-sqlite3", "libsqlite3-0"),
    }
)
"""By adapter: the package of its gem, and of the C library that a gem in a bundle is linked with."""


@dataclass(frozen=True)
class Ruby:
    """A Ruby on the servers. ``program`` is an absolute path; ``bundler`` is true if the gems are in a bundle."""

    program: str = SYSTEM
    bundler: bool = False

    @property
    def system(self) -> bool:
        """Whether it is the Ruby of the distribution."""
        return self.program == SYSTEM

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that make ``ruby`` and ``bundle`` in the app's commands run this Ruby."""
        return {} if self.system else {"PATH": f"{self._sibling('')[:-1]}:{_PATH}"}

    def run(self, name: str, *arguments: str) -> tuple[str, ...]:
        """The argv of a gem's program. Its shebang line is not used, because it may name another Ruby."""
        program = ("bundle", "exec", name) if self.bundler else (name,)
        return (self.program, self._sibling(program[0]), *program[1:], *arguments)

    def programs(self, name: str) -> tuple[str, ...]:
        """The programs that ``run`` needs on a server. The gems of a bundle are in the slug."""
        return (self._sibling("bundle" if self.bundler else name),)

    def packages(self, manifest: Manifest, app_server: str, framework: tuple[str, ...]) -> tuple[str, ...]:
        """The Debian packages of all layers. With a bundle, or a Ruby other than the distribution's, only the C
        libraries that the gems are linked with."""
        backings = [manifest.database, manifest.cache, *manifest.databases.values(), *manifest.caches.values()]
        libraries = [_LIBRARIES[backing.adapter] for backing in backings if backing is not None]
        gems = not self.bundler and self.system
        packages = ["ruby"] if self.system else []
        packages += ["ruby-bundler"] if self.bundler and self.system else []
        packages += [app_server, *framework] if gems else []
        packages += [gem if gems else library for gem, library in libraries]
        return tuple(sorted({*packages, *manifest.packages.names} - {""}))

    def _sibling(self, name: str) -> str:
        return f"{self.program.rpartition('/')[0]}/{name}"
