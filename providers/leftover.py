"""Files that an apply left when it was cut off: temporary files, and parts of units whose files are gone.

Nobody but dynoctl puts anything at these paths, so they need no mark; what has another name is left alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from infra.model import paths
from infra.model.naming import escape
from infra.model.provider import Fragment, Scope
from infra.model.resource import Change, Command, Found
from providers import package
from providers.base import CUT_OFF, Base

_DYNO = r"[a-z][a-z0-9]*\.[1-9]\d*"
_UNIT = r"[a-z][a-z0-9]*-[1-9]\d*(-ready|-due)?\.(service|socket|timer)"
_SLICE = "drop-ins change the limits of all dynos"
"""Why drop-ins of the app's slice are removed, which has no unit file of its own."""

_SUFFIX = r"\.(new|dynoctl-new)"


class Leftover(Base):
    kind = "leftover"

    def observe(self, scope: Scope) -> Fragment:
        values = {"app": scope.app, "escaped": escape(scope.app), "home": paths.home(scope.app)}
        values |= {"environments": paths.env_directory(scope.app), "router": paths.ROUTER, "installing": package.MARK}
        values |= {"journal": paths.journal(scope.app), "volumes": f"{paths.VOLUMES}/{scope.app}"}
        return Fragment(_SCRIPT, values)

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        ours = re.compile("|".join(_patterns(scope.app)))
        return {
            path: Found({"path": path}, reason=_SLICE if path.endswith(".slice.d") else CUT_OFF)
            for path in output.splitlines()
            if ours.fullmatch(path)
        }

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = str((change.before or {})["path"])
        if path.startswith(package.MARK):
            name = path.removeprefix(package.MARK)
            script = f"service=$2.service mark=$1\n{package.FINISH}{_FINISH}"
            return [Command(("sh", "-c", script, "finish", path, name), label=f"disable the own service of {name}")]
        return [Command(("sh", "-c", _REMOVE, "remove", path), label=f"remove {path}")]


def _patterns(app: str) -> list[str]:
    """What may be removed, exactly: ``shop`` has nothing of ``shop-admin``."""
    name, home, mount = re.escape(app), re.escape(paths.home(app)), rf"[\w.\\-]*dyno-{re.escape(escape(app))}-"
    tmp = rf"run-dyno-{re.escape(escape(app))}-{_DYNO}\.mount"
    roots = "|".join(re.escape(root) for root in _ROOTS)
    return [
        rf"{re.escape(paths.env_directory(app))}/{_DYNO}\.env{_SUFFIX}",
        rf"{re.escape(paths.env_directory(app))}/{_DYNO}\.credentials/[^/]+\.dynoctl-new",
        rf"{paths.UNITS}/(dyno-{name}-{_UNIT}|{mount}[0-9a-f]{{64}}\.mount|{tmp}){_SUFFIX}",
        rf"({roots})/(dyno-{name}-{_UNIT}|{mount}[0-9a-f]{{64}}\.mount|{tmp})\.d",
        rf"{paths.UNITS}/[^/]+\.wants/dyno-{name}-{_UNIT}",
        rf"{home}/slugs/[0-9a-f]{{64}}\.squashfs\.\d+\.new",
        rf"{home}/[a-z_]+/[^/]+{_SUFFIX}",
        rf"{re.escape(paths.ROUTER)}/(incoming|gen\.\w+|live\.new|loaded\.new|unit\.old)",
        rf"({roots})/dyno-{re.escape(escape(app))}\.slice\.d",
        rf"{re.escape(paths.journal(app))}\.dynoctl-new",
        rf"{re.escape(f'{paths.VOLUMES}/{app}')}/[a-z0-9-]+\.ext4\.dynoctl-new",
        rf"{re.escape(package.MARK)}[a-z0-9][a-z0-9.+-]+",
    ]


_ROOTS = (paths.UNITS, "/etc/systemd/system.control", "/run/systemd/system", paths.CONTROL)

# Files of a router that this app does not use are none of its business.
_SCRIPT = """\
srv=srv-dyno
if [ -L /srv ] || [ -L /srv/dyno ]; then srv=$(systemd-escape -p "$(readlink -m /srv/dyno)"); fi
set -- "$environments"/*.new "$environments"/*.dynoctl-new
set -- "$@" "$volumes"/*.ext4.dynoctl-new
set -- "$@" "$environments"/*.credentials/*.dynoctl-new "$home"/*/*.new "$home"/*/*.dynoctl-new "$journal".dynoctl-new
for unit in dyno-"$app"- "$srv-$escaped"- run-dyno-"$escaped"-; do
  set -- "$@" /etc/systemd/system/"$unit"*.new /etc/systemd/system/"$unit"*.dynoctl-new
done
for file; do [ -e "$file" ] && printf '%s\\n' "$file"; done
for root in /etc/systemd/system /etc/systemd/system.control /run/systemd/system /run/systemd/system.control; do
  for file in "$root"/dyno-"$app"-*.d "$root/$srv-$escaped"-*.mount.d "$root/run-dyno-$escaped"-*.mount.d; do
    unit=${file##*/}; unit=${unit%.d}
    [ -d "$file" ] && ! [ -e "/etc/systemd/system/$unit" ] && printf '%s\\n' "$file"
  done
done
for root in /etc/systemd/system /etc/systemd/system.control /run/systemd/system /run/systemd/system.control; do
  for file in "$root"/dyno-"$escaped".slice.d/*.conf; do
    [ -s "$file" ] && printf '%s\\n' "${file%/*}" && break
  done
done
for file in /etc/systemd/system/*.wants/dyno-"$app"-*; do
  [ -L "$file" ] && ! [ -e "$file" ] && printf '%s\\n' "$file"
done
# Another app's apply may be installing a package now.
for file in "$installing"*; do
  [ -e "$file" ] && flock -n 9 9< "$file" && printf '%s\\n' "$file"
done
live=
if [ -L "$router/live" ]; then
  [ -e "$router/live/apps/$app" ] || exit 0
  live=$(readlink "$router/live")
fi
for file in "$router"/incoming "$router"/gen.* "$router"/live.new "$router"/loaded.new "$router"/unit.old; do
  { [ -e "$file" ] || [ -L "$file" ]; } && [ "${file##*/}" != "$live" ] && printf '%s\\n' "$file"
done
:
"""

_FINISH = """\
[ -e "$mark" ] || exit 0
flock -n 9 9< "$mark" || exit 0
[ "$(systemctl show -p LoadState --value "$service")" != masked ] || back || exit
rm -f "$mark" && drop "${mark%/*}"
"""

# Since it was observed, this apply may have made what was missing.
_REMOVE = """\
unit=${1##*/}
case $1 in
  *.wants/*) ! [ -e "$1" ] || exit 0;;
  *.slice.d) ;;
  *.d) ! [ -e "/etc/systemd/system/${unit%.d}" ] || exit 0;;
  */gen.*) [ "$unit" != "$(readlink "${1%/*}/live")" ] || exit 0;;
esac
rm -rf -- "$1" || exit
case $1 in
  *.wants/*|*/system.control/*.d) rmdir --ignore-fail-on-non-empty "${1%/*}" && systemctl daemon-reload;;
  *.d) systemctl daemon-reload;;
esac
"""
