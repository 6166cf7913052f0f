"""Assembles a router's configuration on its server, tests the whole and switches to it atomically."""

from __future__ import annotations

from collections.abc import Sequence

from infra.model import paths
from infra.model.resource import Command
from infra.model.sandbox import ROUTER
from providers import files, ini
from providers.routers.contract import STATE, USER, Kind

INCOMING = f"{paths.ROUTER}/incoming"
SERVICE = paths.ROUTER_SERVICE
UNIT = f"{paths.UNITS}/{SERVICE}"

TIMEOUT = 120
"""Timeout in seconds to test and start a router."""


def unit(kind: Kind) -> str:
    """The text of the router's unit, which all apps on a server share."""
    settings = {
        "Unit.Description": f"{kind.name}, the router of dynoctl's apps",
        "Unit.Wants": "network-online.target",
        "Unit.After": "network-online.target",
        "Unit.StartLimitIntervalSec": "0",
        **{f"Service.{key}": value for key, value in kind.service.items()},
        # In Turkish, kill(1) does not know the names of signals.
        "Service.Environment": "\n".join(filter(None, ("LC_ALL=C.UTF-8", kind.service.get("Environment", "")))),
        "Service.User": USER,
        "Service.Group": USER,
        "Service.RuntimeDirectory": "dynoctl-router",
        "Service.StateDirectory": "dynoctl-router",
        "Service.StateDirectoryMode": "0700",
        "Service.Restart": "always",
        "Service.RestartSec": "1",
        "Service.TimeoutStopSec": "30",
        "Service.LimitNOFILE": "65536",
        **{f"Service.{key}": value for key, value in ROUTER.items()},
        "Install.WantedBy": "multi-user.target",
    }
    return ini.render(settings)


def set_app(kind: Kind, app: str, texts: dict[str, str], *, restart: bool = False) -> list[Command]:
    """Add or update an app at the router. ``texts`` are its files by name; those named ``tls.*`` are secret.

    The router reloads its configuration, or restarts if its unit has changed or with ``restart``."""
    made = [files.remove(INCOMING, label="remove leftovers of an earlier run")]
    everything = {**texts, "base": kind.base, "unit": unit(kind)}
    for name, text in everything.items():
        path = f"{INCOMING}/{name}"
        made.append(files.write(path, text, "0600", secret=name.startswith("tls."), label=f"send {name}"))
    return [*made, _run(kind, "set", app, f"route {app} with {kind.name}", "restart" if restart else "")]


def remove_app(kind: Kind, app: str) -> list[Command]:
    """Remove an app from the router, and the router itself with its last app."""
    return [_run(kind, "remove", app, f"remove {app} from the router")]


def show_page(kind: Kind, app: str, page: str) -> list[Command]:
    """Show a maintenance page instead of the app."""
    clear = files.remove(INCOMING, label="remove leftovers of an earlier run")
    return [
        clear,
        files.write(f"{INCOMING}/page.html", page, "0600"),
        _run(kind, "close", app, f"show the maintenance page of {app}"),
    ]


def show_app(kind: Kind, app: str) -> list[Command]:
    """Route to the app again."""
    return [_run(kind, "open", app, f"route to {app}")]


def _run(kind: Kind, action: str, app: str, label: str, fresh: str = "") -> Command:
    script = f"assemble() {{\n{kind.assemble}}}\n{paths.DROP}{_SCRIPT}"
    names = (paths.ROUTER, USER, STATE, SERVICE, UNIT)
    argv: Sequence[str] = (*names, action, app, kind.name, kind.main, kind.test, fresh)
    return Command(("sh", "-c", script, "router", *argv), timeout=TIMEOUT, label=label)


# A configuration is a directory that is never changed. A new one is created next to it and tested as the router's user;
# then the link "live" is switched by a rename. So whenever this is killed, a complete configuration is live.
_SCRIPT = """\
root=$1 user=$2 state=$3 service=$4 unit=$5 action=$6 app=$7 kind=$8 main=$9
shift 9; sound=$1 fresh=$2
umask 027
mkdir -p "$root" && chmod 0711 "${root%/*}" "$root" || exit
old=$(readlink "$root/live" 2>/dev/null)
for stale in "$root"/gen.*; do [ "$stale" = "$root/$old" ] || rm -rf "$stale"; done
new=$(mktemp -d "$root/gen.XXXXXXXX") || exit
fail() { printf '%s\\n' "$@"; rm -rf "$new" "$root/incoming"; exit 1; }
sites() {
  for site in apps/*; do
    if [ -e "$site/page.html" ]; then cat "$site/closed"; else cat "$site/open"; fi
  done
}
listening() {
  cut -d' ' -f1 "$root/live/frontends" | sort -u | while read -r port; do
    grep -qsi "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$port") [0-9A-F:]* 0A " /proc/net/tcp /proc/net/tcp6 || exit 1
  done
}
settled() {
  tries=0
  until systemctl is-active -q "$service" && listening; do
    tries=$((tries + 1)); [ $tries -lt 100 ] || return 1
    sleep 0.1
  done
}
# A reload is over when no old process accepts connections: it has exited, or its title says that it shuts down.
workers() {
  main=$(systemctl show -p MainPID --value "$service")
  for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null < "$stat" || continue
    set -- "${line%% *}" ${line##*)}
    [ "$3" != "$main" ] || echo "$1"
  done
}
# A reload only sends a signal: a program that does not like its files goes on with the old ones, and starts no worker.
renewed() {
  [ -n "$1" ] || return 0
  tries=0
  while [ $tries -lt 100 ]; do
    for pid in $(workers); do case " $1 " in *" $pid "*) ;; *) return 0;; esac; done
    tries=$((tries + 1)); sleep 0.1
  done
  echo "$service still runs the previous configuration"
  return 1
}
left() {
  tries=0
  for pid in $1; do
    while [ -d "/proc/$pid" ] && ! grep -qs 'shutting down' "/proc/$pid/cmdline" && [ $tries -lt 20 ]; do
      tries=$((tries + 1)); sleep 0.05
    done
  done
}
# The directory goes last: as long as it is there, the next apply sees that something is left.
gone() {
  systemctl disable -q "$service" 2>/dev/null  # it cannot if the unit is gone
  for link in "${unit%/*}"/*.wants/"$service"; do
    [ ! -L "$link" ] || { rm -f "$link" && rmdir --ignore-fail-on-non-empty "${link%/*}"; } || return
  done
  said=$(systemctl stop "$service" 2>&1)
  case $(systemctl show -p ActiveState --value "$service") in
    inactive|failed) ;;
    *) printf '%s\\n' "cannot stop $service:" "$said"; return 1;;
  esac
  systemctl reset-failed "$service" 2>/dev/null
  ! id -u "$user" >/dev/null 2>&1 || userdel "$user" || return
  rm -rf "$state" "$unit.d" "$unit" "$unit.new" && systemctl daemon-reload && rm -rf "$root" &&
    drop "${root%/*}"
}
mkdir "$new/apps"
if [ -n "$old" ]; then
  cp -a "$root/$old/apps" "$root/$old/base" "$root/$old/unit" "$new/" || fail "cannot copy $root/$old"
fi
here=$new/apps/$app
case $action in
  set)
    page=; [ -e "$here/page.html" ] && page=yes && mv "$here/page.html" "$new/page.html"
    rm -rf "$here"; mkdir "$here"
    mv -f "$root/incoming/base" "$root/incoming/unit" "$new/" && mv "$root/incoming"/* "$here/" || fail "no files"
    [ -z "$page" ] || mv "$new/page.html" "$here/page.html"
    printf '%s\\n' "$kind" > "$here/kind";;
  remove) rm -rf "$here";;
  close) [ -d "$here" ] || fail "the router has no route to $app"; mv -f "$root/incoming/page.html" "$here/";;
  open) rm -f "$here/page.html";;
esac
set -- "$new"/apps/*
if [ ! -e "$1" ]; then
  said=$(gone 2>&1) || fail "cannot remove the router:" "$said"
  exit 0
fi
for site; do
  other=; read -r other < "$site/kind"
  [ -z "$other" ] || [ "$other" = "$kind" ] ||
    fail "the router here is $other, for ${site##*/}; apps on a server share one router"
done
id -u "$user" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir / \\
  --shell /usr/sbin/nologin --comment "dynoctl's router" "$user" || fail "cannot create the user $user"
[ -d "$state" ] || install -d -m 0700 -o "$user" -g "$user" "$state" || fail "cannot create $state"
cd "$new" || exit
cat apps/*/frontends > frontends
{ cat base && assemble; } > "$main" || fail "cannot write $main"
chown -R "root:$user" . && chmod -R u=rwX,g=rX,o= . || fail "cannot change the group to $user"
caps=+net_bind_service
said=$(setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps "-all,$caps" \\
  --ambient-caps "-all,$caps" --bounding-set "-all,$caps" sh -c "$sound" 2>&1) ||
  fail "$kind rejected the configuration, so nothing was changed:" "$said"
find . -type f ! -name sums | sort | xargs sha256sum > sums
chown "root:$user" sums; chmod 0640 sums
find . -type f -exec sync {} + && find . -type d -exec sync {} + || fail "cannot write $new to the disk"
point() { ln -sfn "$1" "$root/live.new" && mv -fT "$root/live.new" "$root/live" && sync "$root"; }
# The generation that the process runs: it is live once the process has loaded it, and until then a plan says so.
loaded() {
  printf '%s\\n' "$1" > "$root/loaded.new" && sync "$root/loaded.new" && mv -f "$root/loaded.new" "$root/loaded"
}
[ -e "$root/loaded" ] || loaded "${old:-none}" || fail "cannot write $root/loaded"
was=$(systemctl is-active "$service")
cmp -s unit "$unit" || fresh=yes
[ -z "$fresh" ] || [ ! -e "$unit" ] || cp -p "$unit" "$root/unit.old"
point "${new##*/}" || fail "cannot replace $root/live"
# Another program is ended before systemd reads the new unit, whose signals mean something else to it. With SIGTERM none
# waits for the requests under way while no program accepts new ones.
end_other() {
  [ "$(grep '^ExecStart=' "$1")" != "$(grep '^ExecStart=' "$2")" ] || return 0
  systemctl stop --no-block "$service"
  systemctl kill -s TERM "$service" 2>/dev/null
  systemctl stop "$service"
}
begin() {
  if [ "$was" = active ] && [ -z "$fresh" ]; then
    systemctl is-enabled -q "$service" 2>/dev/null || systemctl enable -q "$service" || return
    before=$(workers | tr '\\n' ' ')
    systemctl reload "$service" && settled && renewed "$before" && left "$before"
    return
  fi
  [ ! -e "$unit" ] || end_other unit "$unit" || return
  install -m 0644 unit "$unit.new" && sync "$unit.new" && mv -f "$unit.new" "$unit" && sync "${unit%/*}" || return
  systemctl --no-reload enable -q "$service"
  systemctl daemon-reload || return
  systemctl restart "$service" && settled
}
if said=$(begin 2>&1) && loaded "${new##*/}"; then
  rm -rf "$root/incoming" "$root/unit.old"
  [ -z "$old" ] || rm -rf "${root:?}/$old"
  exit 0
fi
said="$said
$(journalctl -q --no-pager -o cat -n 10 -u "$service" 2>/dev/null)"
restore() {
  point "$old" || return
  [ ! -e "$root/unit.old" ] || { end_other "$root/unit.old" "$unit" && mv -f "$root/unit.old" "$unit"; } || return
  systemctl daemon-reload && systemctl reload-or-restart "$service" && settled
}
failed="$kind could not load the configuration"
if [ -z "$old" ]; then
  cd / && left=$(gone 2>&1) || fail "cannot remove the router:" "$left" "$said"
  fail "$failed, so the router was removed again:" "$said"
fi
back=$(restore 2>&1) || fail "$failed:" "$said" "the previous one was restored, and does not work either:" "$back"
fail "$failed, so the previous one was restored:" "$said"
"""
