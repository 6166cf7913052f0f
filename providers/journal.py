"""The app's journal: a namespace of journald with limits of its own, so that one app's flood drops no other's lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model import naming, paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found
from providers import files, ini, observed_units
from providers.base import Base

LEFT = "16M"
"""What is kept of the log when the app has left the server."""

_MARK = "# dynoctl: the journal of "

_LIMITS = {
    # journald's default is a tenth of the disk, which is too much for each of several apps.
    "Journal.SystemMaxUse": "256M",
    "Journal.RuntimeMaxUse": "32M",
    # The lines of one unit. These are journald's defaults, whatever the server's own journal has.
    "Journal.RateLimitIntervalSec": "30s",
    "Journal.RateLimitBurst": "10000",
}


class Journal(Base):
    kind = "journal"
    headline = ("limits.Journal.SystemMaxUse", "limits.Journal.RuntimeMaxUse")

    def observe(self, scope: Scope) -> Fragment:
        return observed_units.shared(scope.app)

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        units = observed_units.read(output)
        service, text = units.state(paths.journal_service(scope.app)), units.texts.get(paths.journal(scope.app))
        load = service.get("LoadState", "")
        if load != "loaded":
            why = (
                f"{paths.journal_service('APP')} is {load or 'unknown'} on the server, and starts the journal of an app"
            )
            return {scope.app: Found({}, blocked=why)}
        if text is None:
            return {}
        state = "failed" if service.get("ActiveState") == "failed" else "ready"
        attributes: Attributes = {"limits": ini.parse(text), "state": state}
        # A power cut may leave an empty file.
        foreign = bool(text.strip()) and f"{_MARK}{scope.app}" not in text.split("\n")
        return {scope.app: Found(attributes, foreign=foreign)}

    def triggers(self, change: Change) -> bool:
        return False

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path, service = paths.journal(scope.app), paths.journal_service(scope.app)
        if change.after is None:
            argv = ("sh", "-c", _VACUUM, "vacuum", naming.log_namespace(scope.app), LEFT)
            return [Command(argv, label="shrink the journal"), files.remove(path)]
        limits = change.after["limits"]
        assert isinstance(limits, Mapping)  # noqa: S101  # for mypy
        text = f"{_MARK}{scope.app}\n{ini.render({key: str(value) for key, value in limits.items()})}"
        restart = Command(("sh", "-c", _RESTART, "restart", service), label=f"restart {service}")
        return [files.write(path, text, "0644"), restart]


# It reads its limits when it starts. What is logged meanwhile waits in its sockets.
_RESTART = """\
systemctl reset-failed "$1" 2>/dev/null
exec systemctl try-restart "$1"
"""

# Asking it to rotate starts it again if systemd has stopped it. What still logs to it, such as a one-off dyno, would be
# stopped with its sockets.
_VACUUM = """\
journalctl -q --namespace="$1" --rotate 2>/dev/null
journalctl -q --namespace="$1" --vacuum-size="$2" 2>/dev/null
set -- "systemd-journald@$1.socket" "systemd-journald-varlink@$1.socket" "systemd-journald@$1.service"
for unit in $(systemctl show -p RequiredBy --value -- "$@"); do
  case $unit in systemd-journald*) ;; *) ! systemctl -q is-active "$unit" || exit 0;; esac
done
systemctl stop "$@" 2>/dev/null
:
"""


def desired() -> Attributes:
    """The desired attributes, on every server with a dyno."""
    return {"limits": dict(_LIMITS), "state": "ready"}
