"""The release command: runs once in the new slug with the new environment, before any dyno is changed."""

from __future__ import annotations

from infra.model.provider import Scope
from infra.model.resource import Command
from infra.model.stack import RELEASE_TIMEOUT
from providers import one_off
from providers.dyno_unit import DynoUnit

DYNO = "release.0"


STOP_SECONDS = 30
"""Seconds that it has to finish after it was stopped at the timeout."""


def settings(dyno: DynoUnit, nonce: str) -> dict[str, str]:
    """The unit of the release command: a dyno without a port that must exit successfully."""
    unit = one_off.settings(dyno, _name(dyno.app, nonce), {"DYNO": DYNO}, RELEASE_TIMEOUT)
    del unit["Service.RuntimeMaxSec"]  # for a oneshot, TimeoutStartSec limits the run
    return unit | {"Service.Type": "oneshot", "Service.TimeoutStopSec": str(STOP_SECONDS)}


def commands(dyno: DynoUnit, scope: Scope, nonce: str, mark: str) -> tuple[Command, ...]:
    """Run the release command. The last command has its exit status and prints its output. ``mark`` is the path of a
    file that is created once it has succeeded."""
    name = _name(dyno.app, nonce)
    return one_off.commands(name, settings(dyno, nonce), scope, RELEASE_TIMEOUT, "run the release command", mark)


def alone(app: str) -> Command:
    """A command that fails if the release command of an earlier, interrupted apply still runs."""
    argv = ("sh", "-c", _ALONE, "alone", one_off.name("release", app, ""))
    return Command(argv, label="check for an earlier release command")


def _name(app: str, nonce: str) -> str:
    return one_off.name("release", app, nonce)


_ALONE = """\
for file in /run/systemd/system/"$1"*.service; do
  [ -e "$file" ] || continue
  unit=${file##*/}
  case $(systemctl show -p ActiveState --value "$unit") in
    activ*|deactivating)
      since=$(systemctl show -p InactiveExitTimestamp --value "$unit")
      echo "The release command of an interrupted apply is still running, since $since."
      echo "Wait until it ends and apply again, or stop it on the server: systemctl stop $unit"
      exit 1 ;;
  esac
done
"""
