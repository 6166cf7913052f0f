"""An upgrade of an installed Debian package without which another one cannot be installed, such as of a library that a
security update of the distribution replaced. Only what apt names beforehand is upgraded, and nothing is removed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from infra.model.provider import Brief, Fragment, Scope
from infra.model.resource import Change, Command, Found, Resource
from providers import package
from providers.base import Base


class PackageUpgrade(Base):
    kind = "package_upgrade"
    headline = ("before", "after")
    brief = Brief(shown=("before", "after"))
    first = True

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(":\n", {})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        return {}  # it is desired only as long as something cannot be installed without it

    def triggers(self, change: Change) -> bool:
        return False

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        """The first upgrade of a server does all of them, as they may depend on each other."""
        wanted = change.resource.attributes
        together = wanted["together"] if isinstance(wanted["together"], tuple) else ()
        argv = ("sh", "-c", _UPGRADE, "upgrade", change.resource.name, str(wanted["after"]), *map(str, together))
        return [Command(argv, timeout=package.TIMEOUT, label=f"upgrade {change.resource.name}")]


def simulate(names: Sequence[str]) -> Command:
    """The command whose output ``upgrades`` reads: what apt would do to install packages. It changes nothing."""
    return Command(("sh", "-c", _SIMULATE, "simulate", *names), timeout=60, quiet=True)


def upgrades(server: str, output: str) -> list[Resource]:
    """The upgrades that an installation needs; [] also if apt cannot tell."""
    found = [(line[1], line[2], line[3]) for line in map(_INST.fullmatch, output.splitlines()) if line]
    together = tuple(sorted({name for name, _, _ in found}))
    return [
        Resource(server, PackageUpgrade.kind, name, {"before": was, "after": new, "together": together})
        for name, was, new in found
    ]


_INST = re.compile(r"Inst ([a-z0-9][a-z0-9+.-]{1,100})(?::[a-z0-9]+)? \[([\w.+:~-]{1,100})\] \(([\w.+:~-]{1,100}) .*")
"""A line of ``apt-get -s`` about a package of which another version is installed."""

_SIMULATE = f"""\
[ -x /usr/bin/apt-get ] || exit 0
{package.APT}
apt -s install "$@" 2>/dev/null
:
"""

_UPGRADE = f"""\
{package.QUIET}
{package.APT}
name=$1 wanted=$2; shift 2
upgraded() {{ dpkg --compare-versions "$(dpkg-query -W -f '${{Version}}' "$1" 2>/dev/null)" ge "$wanted"; }}
upgraded "$name" && exit 0
failed() {{ printf '%s\\n' "$said" | tail -n 20; broken; exit 1; }}
try -s install --only-upgrade "$@" || failed
others=$(printf '%s\\n' "$said" | sed -n -e 's/^Remv /-/p' -e 's/^Inst \\([^ :]*\\)[^ ]* \\[.*/\\1/p' |
  while read -r one; do case " $* " in *" $one "*) ;; *) echo "$one";; esac; done)
if [ -n "$others" ]; then
  echo "apt would have to upgrade or remove packages that the plan does not name, so nothing was upgraded:" $others
  exit 1
fi
try install --only-upgrade "$@" || failed
upgraded "$name" || {{ echo "$name $wanted is not in the package lists any more; plan again"; exit 1; }}
"""
