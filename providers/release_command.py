"""The release phase: one command in the new slug with the new environment, once, before any dyno moves."""

from __future__ import annotations

from infra.model.provider import Scope
from infra.model.resource import Command
from providers import one_off
from providers.dyno_unit import DynoUnit

TIMEOUT = 1800
"""Seconds that it may take: a migration may be long."""

DYNO = "release.0"


STOP_SECONDS = 30
"""Seconds that it has to end what it is at where it takes too long."""


def settings(dyno: DynoUnit, nonce: str) -> dict[str, str]:
    """Its unit: a dyno without a port that is to end, and well."""
    unit = one_off.settings(dyno, _name(dyno.app, nonce), {"DYNO": DYNO}, TIMEOUT)
    del unit["Service.RuntimeMaxSec"]  # the time that a oneshot takes is the time to start it
    return unit | {"Service.Type": "oneshot", "Service.TimeoutStopSec": str(STOP_SECONDS)}


def commands(dyno: DynoUnit, scope: Scope, nonce: str, mark: str) -> tuple[Command, ...]:
    """Run it; the last command's status is its own, and it prints what it said. ``mark`` is a file that is there once
    it has ended well."""
    name = _name(dyno.app, nonce)
    return one_off.commands(name, settings(dyno, nonce), scope, TIMEOUT, "run the release command", mark)


def alone(app: str) -> Command:
    """Ends badly, and says since when, where a release command of an earlier apply that was cut off still runs."""
    argv = ("sh", "-c", _ALONE, "alone", one_off.name("release", app, ""))
    return Command(argv, says="look for an earlier release command")


def _name(app: str, nonce: str) -> str:
    return one_off.name("release", app, nonce)


_ALONE = """\
for file in /run/systemd/system/"$1"*.service; do
  [ -e "$file" ] || continue
  unit=${file##*/}
  case $(systemctl show -p ActiveState --value "$unit") in
    activ*|deactivating)
      since=$(systemctl show -p InactiveExitTimestamp --value "$unit")
      echo "The release command of an apply that was cut off still runs, since $since."
      echo "Wait for it to end, and apply again; or end it there: systemctl stop $unit"
      exit 1 ;;
  esac
done
"""
