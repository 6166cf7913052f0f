"""Puma: threads in one process, or in several workers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infra.manifest.model import Json
from stacks.contract import Boot, Inherited, Option, Stop, Tcp, Unix


class Puma:
    """Puma 5 and later."""

    name = "puma"
    options: Mapping[str, Option] = MappingProxyType(
        {
            "threads": Option("integer", "The most threads that call the app, in each process.", 5),
            "min_threads": Option("integer", "Threads that are kept while there is nothing to do.", 0, 0),
            "workers": Option("integer", "Processes that call the app, beside the first; 0 is one in all.", 0, 0),
            "preload": Option("boolean", "Load the app before the workers are forked.", False),
            "first_data_timeout": Option("integer", "Seconds to wait for a connection's first byte.", 30),
            "persistent_timeout": Option("integer", "Seconds to keep an idle connection open.", 20),
            "worker_timeout": Option("integer", "Seconds after which a worker that hangs is replaced.", 60, 6),
        }
    )
    # TERM stops accepting and lets open requests end.
    stop = Stop("SIGTERM", 30)

    def config(self, options: Mapping[str, Json]) -> str:
        """Everything but where it listens; a config/puma.rb of the app is not read, as it would bind and write."""

        def of(name: str) -> int:
            return int(str(_value(self, options, name)))

        most = of("threads")
        lines = [
            "# Made by dynoctl from app_server.options.",
            f"threads {min(of('min_threads'), most)}, {most}",
            f"workers {of('workers')}",
            f"first_data_timeout {of('first_data_timeout')}",
            f"persistent_timeout {of('persistent_timeout')}",
            # Ruby says on its own that TERM ended it, and systemd counts that as a failure.
            "raise_exception_on_sigterm false",
            "log_requests false",
        ]
        if of("workers"):
            lines.append(f"worker_timeout {of('worker_timeout')}")
            lines.append(f"preload_app! {'true' if _value(self, options, 'preload') is True else 'false'}")
            lines.append("silence_single_worker_warning" if of("workers") == 1 else "")
        return "\n".join(line for line in lines if line) + "\n"

    def arguments(self, options: Mapping[str, Json], boot: Boot) -> tuple[str, ...]:
        """Binds through the command line, so that one configuration serves all dynos."""
        return ("-C", boot.config, "-e", boot.environment, *_listen(boot), boot.rackup)


def _listen(boot: Boot) -> tuple[str, ...]:
    match boot.listen:
        case Tcp() as tcp:
            return ("-b", f"tcp://{tcp}")
        case Unix(path):
            return ("-b", f"unix://{path}")
        case Inherited():
            return ("--bind-to-activated-sockets", "only")


def _value(puma: Puma, options: Mapping[str, Json], name: str) -> Json:
    return options.get(name, puma.options[name].default)
