"""Puma: threads in one process, or in several worker processes."""

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
            "threads": Option("integer", "Maximum number of threads per process that call the app.", 5),
            "min_threads": Option("integer", "Minimum number of threads, kept while idle.", 0, 0),
            "workers": Option("integer", "Number of worker processes; 0 runs the app in a single process.", 0, 0),
            "preload": Option("boolean", "Load the app before the workers are forked.", False),
            "first_data_timeout": Option("integer", "Seconds to wait for the first byte of a connection.", 30),
            "persistent_timeout": Option("integer", "Seconds to keep an idle connection open.", 20),
            "worker_timeout": Option("integer", "Seconds after which a hung worker is replaced.", 60, 6),
        }
    )
    # TERM stops accepting connections and finishes open requests.
    stop = Stop("SIGTERM", 30)

    def workers(self, options: Mapping[str, Json]) -> int:
        return int(str(_value(self, options, "workers")))

    def config(self, options: Mapping[str, Json]) -> str:
        """All settings except the address. A config/puma.rb of the app is not read: it could bind and write files."""

        def of(name: str) -> int:
            return int(str(_value(self, options, name)))

        most = of("threads")
        lines = [
            "# Made by dynoctl from app_server.options.",
            f"threads {min(of('min_threads'), most)}, {most}",
            f"workers {of('workers')}",
            f"first_data_timeout {of('first_data_timeout')}",
            f"persistent_timeout {of('persistent_timeout')}",
            # Otherwise Ruby exits with the signal TERM, which systemd counts as a failure.
            "raise_exception_on_sigterm false",
            "log_requests false",
        ]
        if not of("workers"):
            lines.append(_END_WHILE_LOADING)
        if of("workers"):
            lines.append(f"worker_timeout {of('worker_timeout')}")
            lines.append(f"preload_app! {'true' if _value(self, options, 'preload') is True else 'false'}")
            lines.append("silence_single_worker_warning" if of("workers") == 1 else "")
        return "\n".join(line for line in lines if line) + "\n" + _BACKTRACE

    def arguments(self, options: Mapping[str, Json], boot: Boot) -> tuple[str, ...]:
        """Binds on the command line, so that all dynos share a configuration file."""
        return ("-C", boot.config, "-e", boot.environment, *_listen(boot), boot.rackup)


# Without workers, Puma handles TERM as soon as it has read its configuration, by telling its server to stop. While the
# app loads there is no server yet: the signal is lost, and systemd kills the process when its time to stop is over.
_END_WHILE_LOADING = """\
Puma::Single.prepend(Module.new do
  def stop_blocked
    return super if @server&.thread
    log "- Stopped while the app was loading"
    exit!(0)
  end
end)"""

_BACKTRACE = """\
# Puma logs an error that the app does not rescue without a backtrace.
lowlevel_error_handler do |error, _, status|
  unless error.class.name.to_s.start_with?("Puma::")
    $stderr.puts "#{error.class}: #{error.message}", error.backtrace.to_a.map { |frame| "  from #{frame}" }
  end
  [status || 500, {}, ["An unhandled lowlevel error occurred. The application logs may have details.\\n"]]
end
"""


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
