"""Unicorn: a master that forks workers, each of which calls the app for one request at a time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infra.manifest.model import Json
from stacks.contract import Boot, Inherited, Option, Stop, Tcp, Unix


class Unicorn:
    """Unicorn 5 and later."""

    name = "unicorn"
    options: Mapping[str, Option] = MappingProxyType(
        {
            "workers": Option("integer", "Number of worker processes.", 1),
            "timeout": Option(
                "integer", "Seconds after which a worker that is still handling a request is killed.", 60, 2
            ),
            "preload": Option("boolean", "Load the app before the workers are forked.", False),
        }
    )
    # QUIT stops accepting connections and finishes open requests; TERM would abort them.
    stop = Stop("SIGQUIT", 60)

    def workers(self, options: Mapping[str, Json]) -> int:
        return int(str(self._of(options, "workers")))

    def config(self, options: Mapping[str, Json]) -> str:
        """All settings except the address. Unicorn logs to stderr by default."""
        return (
            "# Made by dynoctl from app_server.options.\n"
            f"worker_processes {self._of(options, 'workers')}\n"
            f"timeout {self._of(options, 'timeout')}\n"
            f"preload_app {'true' if self._of(options, 'preload') is True else 'false'}\n" + _EXIT_IF_NO_WORKER
        )

    def arguments(self, options: Mapping[str, Json], boot: Boot) -> tuple[str, ...]:
        """Without ``-l``, Unicorn uses the socket that systemd passes."""
        return ("-c", boot.config, "-E", boot.environment, *_listen(boot), boot.rackup)

    def _of(self, options: Mapping[str, Json], name: str) -> Json:
        return options.get(name, self.options[name].default)


# Unicorn restarts a failing worker forever, while the master looks healthy to systemd.
_EXIT_IF_NO_WORKER = """\
# A master of which no worker ever came up ends with it.
came, up = IO.pipe
ever = false
after_worker_ready do |server, worker|
  up.write_nonblock(".", exception: false)
  server.logger.info("worker=#{worker.nr} ready")
end
after_worker_exit do |server, worker, status|
  ever ||= came.read_nonblock(1, exception: false) == "."
  server.logger.info("worker=#{worker.nr} ended: #{status.inspect}")
  exit!(status.success? ? 0 : 1) unless ever
end
"""


def _listen(boot: Boot) -> tuple[str, ...]:
    match boot.listen:
        case Tcp() as tcp:
            return ("-l", str(tcp))
        case Unix(path):
            return ("-l", path)
        case Inherited():
            return ()
