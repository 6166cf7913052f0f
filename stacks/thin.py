"""Thin: the app server by default. One process, one event loop, one request at a time unless threaded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infra.manifest.model import Json
from stacks.contract import Option, Stop


class Thin:
    """Thin 1.8 and later, as the distribution installs it."""

    name = "thin"
    executable = "/usr/bin/thin"
    libraries = ("thin",)
    options: Mapping[str, Option] = MappingProxyType(
        {
            "timeout": Option("integer", "Seconds without data after which a connection is closed.", 30),
            "max_conns": Option("integer", "Connections open at the same time.", 1024),
            "max_persistent_conns": Option("integer", "Connections kept alive at the same time.", 100, 0),
            "threaded": Option("boolean", "Call the app in threads; it must be thread-safe.", False),
            "threadpool_size": Option("integer", "Threads to call the app in, with threaded.", 20),
        }
    )
    # TERM stops accepting and lets open requests end; Thin looks at signals once a second.
    stop = Stop("SIGTERM", 30)

    def command(
        self, options: Mapping[str, Json], rackup: str, listen: str, port: int, environment: str
    ) -> tuple[str, ...]:
        """Not daemonized, so it writes no log and no pid file; not quiet, or the app's errors were lost.

        Thin sets RACK_ENV from ``-e`` whatever the environment says, so it is always given.
        """
        argv = [self.executable, "start", "-R", rackup, "-a", listen, "-p", str(port), "-e", environment]
        for name in self.options:
            if name not in options or options[name] is False:
                continue
            argv.append("--" + name.replace("_", "-"))
            if options[name] is not True:
                argv.append(str(options[name]))
        return tuple(argv)
