"""Thin, the default app server: one process, one event loop, one request at a time unless threaded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infra.manifest.model import Json
from stacks.contract import Boot, Inherited, Option, Stop, Tcp, Unix


class Thin:
    """Thin 1.8 and later."""

    name = "thin"
    options: Mapping[str, Option] = MappingProxyType(
        {
            "timeout": Option("integer", "Seconds without data after which a connection is closed.", 30),
            "max_conns": Option("integer", "Maximum number of open connections.", 1024),
            "max_persistent_conns": Option("integer", "Maximum number of keep-alive connections.", 100, 0),
            "threaded": Option("boolean", "Call the app in threads. The app must be thread-safe.", False),
            "threadpool_size": Option("integer", "Number of threads that call the app if threaded is true.", 20),
        }
    )
    # TERM stops accepting connections and finishes open requests.
    stop = Stop("SIGTERM", 30)

    def workers(self, options: Mapping[str, Json]) -> int:
        return 0

    def config(self, options: Mapping[str, Json]) -> str:
        """Thin has no configuration file. This file adds what Thin lacks: a backend for an inherited socket."""
        return _BACKEND

    def arguments(self, options: Mapping[str, Json], boot: Boot) -> tuple[str, ...]:
        """Thin is not daemonized, so that it writes no log and no pid file, and not quiet, which would hide app errors.

        ``-e`` is always passed, because Thin sets RACK_ENV from it and ignores the environment.
        """
        argv = ["start", "-R", boot.rackup, *_listen(boot), "-e", boot.environment]
        for name in self.options:
            if name not in options or options[name] is False:
                continue
            argv.append("--" + name.replace("_", "-"))
            if options[name] is not True:
                argv.append(str(options[name]))
        return tuple(argv)


def _listen(boot: Boot) -> tuple[str, ...]:
    match boot.listen:
        case Tcp(host, port):
            return ("-a", host, "-p", str(port))
        case Unix(path):
            return ("-S", path, "-r", boot.config, "-b", "DynoctlSocket")
        case Inherited():
            return ("-r", boot.config, "-b", "DynoctlSocket")


_BACKEND = """\
# Made by dynoctl: Thin on the listening socket that systemd hands over as file descriptor 3.
require "thin"

Thin::Backends::UnixServer # loads Thin::UnixConnection

# Thin logs the message of an error and not its class.
Thin::Connection.prepend(Module.new do
  def unexpected_error(error)
    log_error("Unexpected error while processing request: #{error.class}", error)
  end
end)

class DynoctlSocket < Thin::Backends::Base
  # A candidate has no socket of systemd's: it makes one of its own, and is otherwise the same.
  def initialize(_host, _port, options)
    super()
    @path = options[:socket]
  end

  def connect
    socket, connection = @path ? [UNIXServer.new(@path), Thin::UnixConnection] : [Socket.for_fd(3), Thin::Connection]
    @signature = EventMachine.attach_server(socket, connection, &method(:initialize_connection))
    # Thin looks at signals once a second, which every restart would wait for.
    EventMachine.add_periodic_timer(0.05) { server.send(:handle_signals) } if server.respond_to?(:handle_signals, true)
  end

  def disconnect
    EventMachine.stop_server(@signature) if @signature
    @signature = nil
  end

  # The event loop accepts once more in the turn in which it is told not to, and who came in then waits for an answer.
  # Only afterwards is it known that nobody is left.
  def stop
    disconnect
    EventMachine.add_timer(0.01) { super() }
  end

  def to_s
    @path || "the socket of systemd"
  end
end
"""
