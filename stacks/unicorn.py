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
            "workers": Option("integer", "Processes that call the app, beside the master.", 1),
            "timeout": Option("integer", "Seconds after which a worker that is still at one request is killed.", 60, 2),
            "preload": Option("boolean", "Load the app before the workers are forked.", False),
        }
    )
    # QUIT stops accepting and lets open requests end; TERM would cut them off.
    stop = Stop("SIGQUIT", 60)

    def config(self, options: Mapping[str, Json]) -> str:
        """Everything but where it listens. Its log goes to stderr by itself."""
        return (
            "# Made by dynoctl from app_server.options.\n"
            f"worker_processes {self._of(options, 'workers')}\n"
            f"timeout {self._of(options, 'timeout')}\n"
            f"preload_app {'true' if self._of(options, 'preload') is True else 'false'}\n" + _GIVE_UP
        )

    def arguments(self, options: Mapping[str, Json], boot: Boot) -> tuple[str, ...]:
        """Without ``-l`` it takes the socket that systemd hands over."""
        return ("-c", boot.config, "-E", boot.environment, *_listen(boot), boot.rackup)

    def _of(self, options: Mapping[str, Json], name: str) -> Json:
        return options.get(name, self.options[name].default)


# Unicorn would start a worker anew for ever, and systemd would see a master that runs.
_GIVE_UP = """\
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
