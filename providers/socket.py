"""A web dyno's listening socket. systemd holds it, so it outlives the process and requests wait in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from infra.model import listening, naming, paths, routing
from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Effect, Found
from infra.model.target import host_port
from providers import briefs, drop_ins, files, idle, ini, listeners, observed_units, shown, unit
from providers.base import Base

BACKLOG = 1024
"""Connections that may wait while a dyno restarts or is busy."""

LONGEST_STOP = 660
"""Seconds: one minute more than the longest stop timeout of a dyno."""


class Socket(Base):
    kind = "socket"
    headline = ("unit.Socket.ListenStream", "state")
    brief = briefs.SOCKET

    def observe(self, scope: Scope) -> Fragment:
        return observed_units.shared(scope.app)

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        found = observed_units.read(output)
        open_ = listeners.parse(found.rest)
        sockets: dict[str, Found] = {}
        for file in dict.fromkeys([*found.names(".socket"), *shown.orphans(found.states, ".socket")]):
            named = naming.UNIT_NAME.match(file)
            if named is None or file != f"dyno-{scope.app}-{named['type']}-{named['number']}":
                continue
            dyno = f"{named['type']}.{named['number']}"
            name = f"{file}.socket"
            settings_ = found.settings(name)
            attributes: dict[str, str | bool | tuple[str, ...] | Mapping[str, str]] = {
                "unit": settings_,
                "drop_ins": found.drop_ins(name),
                "enabled": found.state(name).get("UnitFileState") == "enabled",
                "state": _state(
                    found.state(name),
                    listens=_listens(settings_.get("Socket.ListenStream", ""), open_),
                    stale=found.outdated(name),
                ),
            }
            sockets[f"{scope.app}-{dyno}"] = Found(attributes, foreign=not unit.is_ours(settings_, scope.app, dyno))
        return sockets

    def spontaneous(self, found: Attributes) -> Collection[str]:
        return ("state",) if found.get("state") in ("failed", "not listening") else ()

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        socket = f"{naming.user_name(scope.app, str(change.resource.dyno))}.socket"
        # A socket that did not exist before is removed together with the link that enables it.
        link = [f"{paths.UNITS}/sockets.target.wants/{socket}"] if change.before is None else []
        return (f"{paths.UNITS}/{socket}", *link)

    def free(self, scope: Scope, change: Change) -> Command | None:
        wanted = None if change.after is None else change.after["unit"]
        address = routing.split(str(wanted["Socket.ListenStream"])) if isinstance(wanted, Mapping) else None
        if address is None:
            return None
        name, (host, port) = naming.user_name(scope.app, str(change.resource.dyno)), address
        argv = ("sh", "-c", _FREE, "free", name, f"{port}", f"{port:04X}", *listening.taken_by(host))
        return Command(argv, quiet=True, label=f"check port {port}")

    def undo(self, scope: Scope, change: Change) -> Sequence[Command]:
        name = naming.user_name(scope.app, str(change.resource.dyno))
        if _stays_open(change):
            return [files.systemctl("daemon-reload")]
        script = _CLOSE if change.before is None else _OPEN
        return [files.systemctl("daemon-reload"), Command(("sh", "-c", script, "undo", name), timeout=LONGEST_STOP)]

    def effect(self, change: Change) -> Effect | None:
        """None: a process keeps its socket, so the effect on the dyno is that of its own unit."""
        return None

    def triggers(self, change: Change) -> bool:
        """To open a socket anew, its process ends."""
        return not _stays_open(change)

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        name = naming.user_name(scope.app, str(change.resource.dyno))
        socket = f"{name}.socket"
        file = f"{paths.UNITS}/{socket}"
        if change.after is None:
            return [
                files.stop(socket, timeout=60, label=f"close {socket}"),
                files.remove(*files.unit_files(socket), label=f"remove {socket}"),
                files.systemctl("daemon-reload"),
            ]
        wanted = change.after["unit"]
        assert isinstance(wanted, Mapping)  # noqa: S101  # for mypy
        open_ = Command(("sh", "-c", _OPEN, "open", name), timeout=LONGEST_STOP, label=f"open {socket}")
        return [
            drop_ins.revert(socket),
            files.write(file, ini.render({key: str(value) for key, value in wanted.items()}), "0644"),
            # Enabled first: since version 254 systemd says of every unit that it is outdated until the next reload.
            files.systemctl("--no-reload", "enable", socket, label=f"enable {socket}"),
            files.systemctl("daemon-reload"),
            *([] if _stays_open(change) else [open_]),
        ]


def _stays_open(change: Change) -> bool:
    """Whether a socket that listens only has to be enabled again for the next boot."""
    return change.before is not None and change.after is not None and set(change.differing()) <= {"enabled"}


def _state(state: shown.Unit, *, listens: bool, stale: bool) -> str:
    if state.get("ActiveState") != "active":
        return "failed" if state.get("ActiveState") == "failed" else "stopped"
    # For systemd a socket that its process has shut down is active for ever.
    if not listens:
        return "not listening"
    return "outdated" if stale else "listening"


def _listens(stream: str, open_: listeners.Listeners) -> bool:
    place = routing.split(stream)
    return place is None or (listeners.address(place[0]), place[1]) in open_


def settings(app: str, dyno: str, listen: str, port: int, *, defer: bool = False) -> dict[str, str]:
    """The socket unit of one dyno. ``defer``: a connection reaches the dyno, and starts it, only once it has data."""
    return {
        "Unit.Description": f"socket of dyno {dyno} of {app}",
        f"Unit.{naming.APP}": app,
        f"Unit.{naming.DYNO}": dyno,
        # The socket must never fail, however often the service does: no trigger limit.
        "Socket.ListenStream": host_port(listen, port),
        "Socket.Backlog": str(BACKLOG),
        "Socket.NoDelay": "yes",
        "Socket.FreeBind": "yes",
        "Socket.TriggerLimitIntervalSec": "0",
        **({"Socket.DeferAcceptSec": str(idle.DEFER)} if defer else {}),
        "Install.WantedBy": "sockets.target",
    }


def desired(app: str, dyno: str, listen: str, port: int, *, defer: bool = False) -> Attributes:
    """The desired socket of one dyno."""
    made = settings(app, dyno, listen, port, defer=defer)
    return {"unit": made, "drop_ins": (), "enabled": True, "state": "listening"}


# systemd cannot open the socket of a service that does not exist yet (the unit's own steps open it then), nor that of a
# running service, so the service is stopped first, after its open requests.
_OPEN = """\
# A socket that is still open without its service file, or with an empty one, must be closed.
[ -s "/etc/systemd/system/$1.service" ] || { systemctl stop "$1.socket" 2>/dev/null; exit 0; }
systemctl is-active -q "$1.service" && systemctl stop "$1.service" "$1-ready.service"
systemctl restart "$1.socket"
"""

# A dyno that had no socket binds its port itself, so neither the new process nor systemd may keep the port.
_CLOSE = """\
said=$(systemctl stop "$1.service" "$1-ready.service" "$1.socket" 2>&1)
for unit in "$1.service" "$1.socket"; do
  case $(systemctl show -p ActiveState --value "$unit") in inactive|failed) ;; *) echo "$said"; exit 1;; esac
done
systemctl reset-failed "$1.socket" 2>/dev/null
:
"""

# As in /proc/net/tcp: an address is taken by a listener on itself or on all addresses. The port may be the dyno's own:
# its unit has it as a mark, or is empty.
_FREE = f"""\
name=$1 port=$2 hex=$3 unit={paths.UNITS}/$1.service; shift 3
if systemctl is-active -q "$name.service"; then
  grep -qsx '{naming.PORT}=..*' "$unit" || exit 0
  grep -qsx "{naming.PORT}=$port" "$unit" && exit 0
fi
case $(systemctl show -p Listen --value "$name.socket" 2>/dev/null) in
  *":$port (Stream)"*) systemctl is-active -q "$name.socket" && exit 0 ;;
esac
for address; do
  grep -qsE "^ *[0-9]+: $address:$hex [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6 || continue
  echo "port $port is already in use"
  command -v ss >/dev/null && ss -Hltnp "sport = :$port"
  exit 1
done
"""
