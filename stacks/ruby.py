"""The Ruby VM: which program it is, how it runs the programs of gems, and which Debian packages it all comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from infra.manifest.model import Manifest

SYSTEM = "/usr/bin/ruby"
"""The distribution's own, where ``ruby.path`` names no other."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_LIBRARIES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "postgresql": ("ruby-pg", "libpq5"),
        "mysql": ("ruby-mysql2", "libmariadb3"),
        "mariadb": ("ruby-mysql2", "libmariadb3"),
        "redis": ("ruby-redis", ""),
        "memcached": ("ruby-dalli", ""),
    }
)
"""By adapter: the package of its gem, and that of the C library which a gem of the app's own is linked with."""


@dataclass(frozen=True)
class Ruby:
    """One Ruby on the servers. ``program`` is absolute; with ``bundler`` everything runs on the bundle's gems."""

    program: str = SYSTEM
    bundler: bool = False

    @property
    def system(self) -> bool:
        """Whether it is the distribution's."""
        return self.program == SYSTEM

    @property
    def environment(self) -> Mapping[str, str]:
        """What the app needs so that ``ruby`` and ``bundle`` are this one's, too."""
        return {} if self.system else {"PATH": f"{self._beside('')[:-1]}:{_PATH}"}

    def run(self, name: str, *arguments: str) -> tuple[str, ...]:
        """The argv of a gem's program. Never through its first line, which may name another Ruby."""
        words = (self.program, self._beside("bundle"), "exec", name) if self.bundler else ()
        return (*(words or (self.program, self._beside(name))), *arguments)

    def programs(self, name: str) -> tuple[str, ...]:
        """What must be on a server so that ``run`` works; in a bundle, gems are the slug's affair."""
        return (self._beside("bundle" if self.bundler else name),)

    def packages(self, manifest: Manifest, app_server: str, framework: tuple[str, ...]) -> tuple[str, ...]:
        """The Debian packages of all layers: of a bundle's gems only what C libraries they are linked with; of a Ruby
        that the distribution did not make, none but those either."""
        backings = [manifest.database, manifest.cache, *manifest.databases.values(), *manifest.caches.values()]
        libraries = [_LIBRARIES[one.adapter] for one in backings if one is not None]
        gems = not self.bundler and self.system
        wanted = ["ruby"] if self.system else []
        wanted += ["ruby-bundler"] if self.bundler and self.system else []
        wanted += [app_server, *framework] if gems else []
        wanted += [gem if gems else library for gem, library in libraries]
        return tuple(sorted({*wanted, *manifest.packages.names} - {""}))

    def _beside(self, name: str) -> str:
        return f"{self.program.rpartition('/')[0]}/{name}"
