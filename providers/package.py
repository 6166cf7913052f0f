"""A Debian package that the layers come in: installed where it is missing, and never upgraded or removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found, Resource
from providers.base import Base

TIMEOUT = 900
"""Seconds for apt: a slow mirror and a slow disk, and somebody else's apt to wait for."""


class Package(Base):
    kind = "package"
    first = True

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(_SCRIPT, {"names": " ".join((*scope.packages, scope.router))})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        found: dict[str, Found] = {}
        for line in output.splitlines():
            name, _, status = line.partition(" ")
            if name in (*scope.packages, scope.router) and status.endswith(" ok installed"):
                # Never ours to remove, even where we installed it: somebody else may need it by now.
                found[name] = Found({"installed": True}, kept=True)
        return found

    def triggers(self, change: Change) -> bool:
        return False

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        return {}

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        """The first of a server's packages brings all of them, in one run of apt; the others then find themselves."""
        name = change.resource.name
        if name == scope.router and name not in scope.packages:
            argv: tuple[str, ...] = ("sh", "-c", _ASIDE + _INSTALL + _BACK, "install", name, name)
        else:
            argv = ("sh", "-c", _INSTALL, "install", name, *scope.packages)
        return [Command(argv, timeout=TIMEOUT, says=f"install {name}")]


_SCRIPT = """\
[ -n "$names" ] || exit 0
[ -x /usr/bin/dpkg-query ] || exit 0
dpkg-query -W -f '${Package} ${Status}\\n' $names 2>/dev/null
:
"""

# apt says first what it would do: with an upgrade or a removal in it, nothing is done. Missing or old lists are
# fetched once.
_INSTALL = """\
export DEBIAN_FRONTEND=noninteractive
there() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q ' ok installed$'; }
first=$1; shift
there "$first" && exit 0
missing=
for name; do there "$name" || missing="$missing $name"; done
apt() {
  apt-get -q -y --no-install-recommends --no-remove -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \\
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}
would=$(apt -s install $missing 2>&1) || { apt update >/dev/null 2>&1; would=$(apt -s install $missing 2>&1); } || {
  printf '%s\\n' "$would" | tail -n 20; exit 1
}
if printf '%s\\n' "$would" | grep -qE '^(Remv |Inst [^ ]+ \\[)'; then
  echo 'apt would have to upgrade or remove other packages, so nothing was installed:'
  printf '%s\\n' "$would" | grep -E '^(Remv |Inst [^ ]+ \\[)' | head -20
  echo 'Install these by hand, or say packages: manual.'
  exit 1
fi
said=$(apt install $missing 2>&1) || { apt update >/dev/null 2>&1; said=$(apt install $missing 2>&1); } || {
  printf '%s\\n' "$said" | tail -20; exit 1
}
"""

# The service that a router's package brings would take port 80, now and after each boot. It is ours alone to switch
# off while we are the ones who bring it.
_ASIDE = """\
service=$1.service aside=
if [ "$(systemctl show -p LoadState --value "$service")" = not-found ]; then
  systemctl mask --runtime -q "$service" && aside=yes
  trap 'systemctl unmask --runtime -q "$service"' EXIT
fi
"""

_BACK = """\
[ -z "$aside" ] || systemctl disable -q "$service" 2>/dev/null
:
"""


def desired(server: str, name: str) -> Resource:
    """One package on one server."""
    return Resource(server, "package", name, {"installed": True})
