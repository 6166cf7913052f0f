"""What a server has of its units: their files, what systemd has loaded of them, and what is laid over them. One
fragment prints it for all types of resources that are units, and one function reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from infra.model import answer, paths
from infra.model.naming import escape
from infra.model.provider import Fragment
from infra.model.volume import volume_unit
from providers import drop_ins, ini, listeners, shown

PRINT = """\
texts() {
  for file; do
    shift
    printf 'file %s\\n' "$file"
    [ -d "$file" ] || set -- "$@" "$file"
  done
  [ $# -eq 0 ] || sed -s '1F;s/^/=/' -- "$@" 2>/dev/null || [ $? -eq 2 ] || { echo 'sed cannot print them'; exit 1; }
  echo
}
"""
"""A shell function that prints which files there are, and of each its name once and its lines with a ``=`` before each:
they are most of what a server answers. (sed would end at a directory, says 2 if a file cannot be read, and adds no
newline to the last one.)"""

_SHOWN = (
    "Id,LoadState,ActiveState,SubState,Result,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,NRestarts,"
    "CPUQuotaPerSecUSec,InactiveExitTimestampMonotonic"
)

# systemctl takes 4 ms, and systemd 1 ms more, whatever they are asked: so they are asked once. What matches
# a pattern and has a name as well would be shown twice.
_ASK = f"""\
ask() {{
  for name; do
    shift
    case $name in *.socket|*.timer) ;; *) set -- "$@" "$name";; esac
  done
  systemctl show -p "$shown" -- "$@" "$prefix*.socket" "$prefix*.timer" "$slice" "$journald" "$router" {shown.ANY}
}}
unknown() {{  # systemd forgets a unit that is stopped and that no other one needs
  for name; do
    shift
    case $name in *.socket|*.timer) ;; *) continue;; esac
    case "
$said
" in *"
Id=$name
"*) ;; *) set -- "$@" "$name";; esac
  done
  [ $# -eq 0 ] || {{ systemctl show -p "$shown" -- "$@"; echo; }}
}}
"""

# The name of an app may begin with that of another one: no file of shop-admin is printed for shop, which may have a
# hundred previews. Of a service that runs, systemd keeps a link for journald, also if its file is gone.
_SCRIPT = """\
cd /etc/systemd/system || exit
if [ -L /srv ] || [ -L /srv/dyno ]; then slug=$(systemd-escape -p "$(readlink -m /srv/dyno)")-${slug#srv-dyno-}; fi
ours() {
  rest=${1#"$prefix"}; rest=${rest%.*}; rest=${rest%-ready}; rest=${rest%-due}
  case ${rest%-*} in *-*) return 1;; esac
  named "$1"
}
set --
for file in "$slug"*.mount "$tmp"*.mount "$volume"*.mount; do
  { [ -e "$file" ] || [ -L "$file" ]; } && named "$file" && set -- "$@" "$file"
done
for file in "$prefix"*.service "$prefix"*.socket "$prefix"*.timer; do
  { [ -e "$file" ] || [ -L "$file" ]; } && ours "$file" && set -- "$@" "$file"
done
if [ -e "$journal" ]; then texts "$@" "$journal"; else texts "$@"; fi
for file in /run/systemd/units/invocation:"$prefix"*.service; do
  file=${file##*/invocation:}
  [ -e "$file" ] || [ -L "$file" ] || ! ours "$file" || set -- "$@" "$file"
done
show "$@"
unknown "$@"
for file in "$slice" "$slice.d"; do
  { [ ! -e "$file" ] && [ ! -L "$file" ]; } || printf 'slice /etc/systemd/system/%s\\n' "$file"
done
for file in "$moving"/*; do [ -e "$file" ] && printf 'paused %s\\n' "${file##*/}"; done
drop_ins service socket timer mount slice
"""

SECTION = "units"


def shared(app: str, script: str = "", variables: Mapping[str, str] = MappingProxyType({})) -> Fragment:
    """A fragment whose output ``read`` reads: what ``script`` prints, and then the units of the app."""
    values = {
        "prefix": f"dyno-{app}-",
        # The names are escaped, so those of ``shop`` are not the beginning of those of ``shop-admin``.
        "slug": paths.mount_unit(app, "").removesuffix(".mount"),
        "tmp": paths.temporary_unit(app, "").removesuffix(".mount"),
        "volume": volume_unit(app, "").removesuffix(".mount"),
        "slice": slice_unit(app),
        "journal": paths.journal(app),
        "journald": paths.journal_service(app),
        "router": paths.ROUTER_SERVICE,
        "moving": paths.moving(app),
        "shown": _SHOWN,
    }
    text = f"echo {SECTION}\n{shown.NAMED}{shown.SHOW}{_ASK}{drop_ins.LIST}{PRINT}{_SCRIPT}{listeners.LIST}:\n"
    return Fragment(script, variables, {SECTION: Fragment(text, values)})


def slice_unit(app: str) -> str:
    """The name of the app's slice."""
    return f"dyno-{escape(app)}.slice"


_FILE = re.compile(r"^([^ =\n]+)\n((?:=.*(?:\n|\Z))++)", re.MULTILINE)


@dataclass(frozen=True)
class ObservedUnits:
    """The units of an app on a server, by names with a suffix."""

    texts: Mapping[str, str]
    """The text of each file; "" of one that is empty or cannot be read."""
    states: Mapping[str, shown.Unit]
    rest: str
    """What was printed besides the texts."""
    _others: drop_ins.DropIns

    own: str = ""
    """What the fragment printed before all of that."""

    def names(self, suffix: str) -> list[str]:
        """The names of the files that end with ``suffix``, without it."""
        return [name.removesuffix(suffix) for name in self.texts if name.endswith(suffix)]

    def settings(self, name: str) -> dict[str, str]:
        return ini.parse(self.texts.get(name, ""))

    def state(self, name: str) -> shown.Unit:
        return self.states.get(name, {})

    def drop_ins(self, *names: str) -> tuple[str, ...]:
        """What changes these units and is not part of them."""
        return self._others.of_all({name: self.state(name) for name in names})

    def outdated(self, *names: str) -> bool:
        """Whether systemd has loaded an older version of one of their files."""
        return any(shown.outdated(self.states, name, self.rest) for name in names)

    def lines(self, word: str) -> Sequence[str]:
        """The lines that begin with ``word``, without it: of what the fragment itself printed, if it did."""
        return answer.lines(self.own or self.rest, word)


def read(output: str) -> ObservedUnits:
    """What a shared fragment printed."""
    at = 0 if output.startswith(f"{SECTION}\n") else output.find(f"\n{SECTION}\n") + 1
    found = _read(output[at:])
    return replace(found, own=output[:at]) if at else found


@lru_cache(maxsize=16)  # the same for many types of resources
def _read(units: str) -> ObservedUnits:
    parts = _FILE.split(units)
    rest = "".join(parts[::3])
    texts = dict.fromkeys(answer.lines(rest, "file"), "")
    for name, lines in zip(parts[1::3], parts[2::3], strict=True):
        texts[name] = lines[1:].replace("\n=", "\n")
    return ObservedUnits(texts, shown.parse(rest), rest, drop_ins.parse(rest))
