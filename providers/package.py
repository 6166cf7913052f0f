"""A Debian package that the layers or a build need: installed if it is missing, never upgraded or removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model import paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found, Resource
from providers.base import Base

TIMEOUT = 900
"""Timeout of apt in seconds, for a slow mirror, a slow disk and another apt that holds the lock."""


class Package(Base):
    kind = "package"
    first = True

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(_SCRIPT, {"names": " ".join(_names(scope))})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        found: dict[str, Found] = {}
        for line in output.splitlines():
            name, _, status = line.partition(" ")
            if name in _names(scope) and status.endswith(" ok installed"):
                # Never removed, even if we installed it: something else may need it by now.
                found[name] = Found({"installed": True}, kept=True)
        return found

    def triggers(self, change: Change) -> bool:
        return False

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        return {}

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        """The first package of a server installs all of them in one run of apt; the steps of the others do nothing."""
        name = change.resource.name
        if name in scope.build_packages and change.resource.server == scope.builder:
            argv: tuple[str, ...] = ("sh", "-c", _INSTALL, "install", name, *scope.build_packages)
        elif name == scope.router and name not in scope.packages:
            argv = ("sh", "-c", f"mark={MARK}$1\n{FINISH}{_ASIDE}{_INSTALL}", "install", name, name)
        else:
            argv = ("sh", "-c", _INSTALL, "install", name, *scope.packages)
        return [Command(argv, timeout=TIMEOUT, label=f"install {name}")]


def _names(scope: Scope) -> tuple[str, ...]:
    return (*scope.packages, *scope.build_packages, scope.router)


MARK = f"{paths.STATE}/.installing-"
"""The file that records, with the name of the package, that the package's own service is masked while apt runs. The
step that installs the package holds its lock."""

_SCRIPT = """\
[ -n "$names" ] || exit 0
[ -x /usr/bin/dpkg-query ] || exit 0
dpkg-query -W -f '${Package} ${Status}\\n' $names 2>/dev/null
:
"""

# Nothing may ask, and nothing else may be restarted: neither dynos nor sshd.
QUIET = """\
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true APT_LISTCHANGES_FRONTEND=none
export NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l
"""

APT = """\
apt() {
  apt-get -q -y --no-install-recommends --no-remove -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=240 \\
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}
broken=
# A power cut leaves dpkg in the middle of a package, and then it refuses everything until that is finished.
mend() {
  case $1 in *'dpkg --configure -a'*|*'fix-broken install'*|*'not fully installed'*) ;; *) return 1;; esac
  tries=0
  until said=$(dpkg --configure -a --force-confdef --force-confold 2>&1); do
    case $said in *'dpkg frontend lock'*) sleep 2;; *) broken=yes; break;; esac
    tries=$((tries + 1)); [ $tries -lt 150 ] || return 1
  done
  # What is left needs packages that had not come yet.
  apt -s -f install 2>&1 | grep -qE '^(Remv |Inst [^ ]+ \\[)' || apt -f install >/dev/null 2>&1
}
try() { said=$(apt "$@" 2>&1) || { mend "$said" && said=$(apt "$@" 2>&1); }; }
broken() {
  [ -z "$broken" ] ||
    echo 'dpkg was interrupted, and apply could not finish it; on the server: dpkg --configure -a; apt-get -f install'
}
"""

# apt first simulates: if it would upgrade or remove a package, nothing is installed. If a package is not found, the
# package lists are updated once.
_ONCE = """\
installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q ' ok installed$'; }
first=$1; shift
installed "$first" && exit 0
missing=
for name; do installed "$name" || missing="$missing $name"; done
# A package that is not found may be one whose list did not come, such as through a proxy that is down.
updated=
update() { updated=$(apt update 2>&1); }
failed() {
  printf '%s\\n' "$said" | tail -n 20
  printf '%s\\n' "$updated" | grep -E '^(Err|E|W):' | tail -n 6
  broken
  exit 1
}
try -s install $missing || { update; try -s install $missing; } || failed
would=$said
if printf '%s\\n' "$would" | grep -qE '^(Remv |Inst [^ ]+ \\[)'; then
  echo 'apt would have to upgrade or remove other packages, so nothing was installed:'
  printf '%s\\n' "$would" | grep -E '^(Remv |Inst [^ ]+ \\[)' | head -20
  case $would in
    *"
Remv "*) echo 'Install these by hand, or set packages: manual in dyno.yaml.';;
    *) echo 'Plan again: the plan names what must be upgraded first.';;
  esac
  exit 1
fi
try install $missing || { update; try install $missing; } || failed
"""

_INSTALL = f"{QUIET}{APT}{_ONCE}"

# The service of a router's package would bind port 80, now and at every boot. It is disabled only if this step
# installs the package; a service that was there before is left alone. The mark and the mask survive a power cut.
# $service and $mark are set.
FINISH = f"""\
{paths.DROP}
back() {{
  systemctl disable -q "$service" 2>/dev/null
  systemctl unmask -q "$service" || return
  ! systemctl is-enabled -q "$service" 2>/dev/null || systemctl disable -q "$service" || return
  rm -f "$mark" && drop "${{mark%/*}}"
}}
"""

_ASIDE = """\
service=$1.service
state=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)
case $state in half-installed|unpacked|half-configured) state=begun;; esac
load=$(systemctl show -p LoadState --value "$service")
if [ "$state" = begun ] || [ "$load" = not-found ] || { [ -e "$mark" ] && [ "$load" = masked ]; }; then
  mkdir -p "${mark%/*}" && exec 9> "$mark" && sync "$mark" "${mark%/*}" || exit
  flock -w 300 9 || { echo "$1 is still being installed"; exit 1; }
  trap 'code=$?; back || code=1; exit $code' EXIT
  trap 'exit 1' HUP INT PIPE TERM
  systemctl mask -q "$service" && sync /etc/systemd/system || exit
else
  rm -f "$mark"
fi
"""


def desired(server: str, name: str) -> Resource:
    """The desired package on one server."""
    return Resource(server, "package", name, {"installed": True})
