"""The facts of a server besides its resources: identity, cores, versions, listeners, dynos of all apps, records."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from infra.fleet import held_ports, known_records, meta_record, system
from infra.fleet.applied_records import AppliedRecords
from infra.model import answer, lock_holder, one_offs, origin, paths, release, routing, trusted_program
from infra.model.naming import APP, CPU, DYNO, DYNO_NAME, IDLE, MARK_LINE, PORT, Mark
from infra.model.one_offs import OneOff
from infra.model.origin import Origin
from infra.model.provider import Fragment, Scope
from infra.model.release import Release
from infra.model.routing import Route

SYSTEMD_AT_LEAST = 247
"""The first version with LoadCredential=, ProtectProc= and ProcSubset=."""

MOST_CORES = 100_000
"""A server that claims more cores would take all dynos."""


@dataclass(frozen=True)
class Facts:
    """The facts of one server. ``ports`` are all TCP ports with a listener. ``meta`` and ``record`` are the app's
    records: the formation, and an entry for each key of a resource."""

    machine_id: str
    hostname: str
    address: str
    cores: int
    systemd: int
    squashfs: bool
    ruby: str
    missing: frozenset[str]
    ports: frozenset[int]
    marks: tuple[Mark, ...]
    held: Mapping[str, int] = field(default_factory=dict)
    """The ports of the app's dynos whose units are damaged, by dyno, as they still listen; 0 if that is not known."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    record: AppliedRecords = field(default_factory=AppliedRecords)
    pending: frozenset[str] = frozenset()
    backups: frozenset[str] = frozenset()
    """The dynos that have a backup on this server."""

    releases: tuple[Release, ...] = ()
    bodies: frozenset[int] = frozenset()
    """The numbers of the releases whose body is on this server."""
    salt: str = ""
    recorded: bool = False
    """Whether the server has a directory of records of the app, whatever is in it."""
    ruby_refused: str = ""
    """Why the program of Ruby was not run: others than root can change it. "" if it was, or does not exist."""
    apt: str = ""
    """``no`` without apt, or the version of Ruby that apt would install ("" if unknown or not needed)."""

    routes: tuple[Route, ...] = ()
    """The routes of the router on this server, for all apps."""

    one_offs: tuple[OneOff, ...] = ()
    """The one-off dynos of the app that are under way on this server."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """By app with records on this server, the manifest that was applied last."""

    addresses: frozenset[str] = frozenset()
    """The IP addresses of the server."""

    system: str = ""
    """The distribution and its version in the words of os-release(5), such as ``ID=debian VERSION_ID="12"``."""

    mounts: str = paths.MOUNTS
    """Where the directory of the mounted slugs really is: ``/srv`` may be a link."""

    holder: str = ""
    """Who holds the app's lock at this moment, in the words of ``infra.model.lock_holder``; "" if it is free."""

    def own_address(self, meta: Mapping[str, Any]) -> str:
        """The address on which dynos listen unless the manifest says otherwise: the recorded one, as long as the server
        has it, and else the one by which it was reached. A server that is reached by another way keeps its address."""
        for section in ("servers", "spares"):
            recorded = meta.get(section, {}).get(self.machine_id, {}).get("address", "")
            if recorded in self.addresses:
                return str(recorded)
        return self.address

    def dynos(self, app: str) -> Mapping[str, Mark]:
        """The app's dynos on this server, by name."""
        return {mark.dyno: mark for mark in self.marks if mark.app == app}

    def recorded_ports(self) -> Mapping[str, int]:
        """The ports of the app's dynos on this server in the records of the last apply, by dyno."""
        return {key.rpartition("-")[2]: port for key, port in self.record.ports().items()}


def newest_meta(found: Iterable[Facts]) -> Mapping[str, Any]:
    """The meta record with the highest serial, and what the records of servers say that it does not know; {} if there
    is none."""
    recorded = [facts for facts in found if facts.meta]
    newest = meta_record.newest(facts.meta for facts in recorded)
    machines = newest.get("servers", {}).keys() | newest.get("spares", {}).keys()
    # An apply that reached none of the servers before it began to count anew, and knows nothing of theirs.
    unseen = sorted(
        (facts.meta for facts in recorded if facts.machine_id not in machines and facts.meta != newest),
        key=meta_record.order,
    )
    return meta_record.combined(newest, unseen) if unseen else newest


def fragment(scope: Scope, ruby: str, executables: tuple[str, ...]) -> Fragment:
    """The sh fragment whose output ``parse`` reads. ``ruby`` and ``executables`` are absolute paths."""
    return Fragment(
        trusted_program.check()
        + _SCRIPT
        + system.SCRIPT
        + held_ports.SCRIPT
        + one_offs.SCRIPT
        + lock_holder.SCRIPT
        + ":\n",
        {"app": scope.app, "ruby": ruby, "programs": "\n".join(executables), "known": ""},
        {routing.SECTION: routing.fragment()},
    )


def records_fragment(app: str) -> Fragment:
    """A short fragment whose output ``parse`` reads, too: only who the server is, its routes, and the formation."""
    return Fragment(f"{_MACHINE}{known_records.SCRIPT}{routing.SCRIPT}:\n", {"app": app, "known": ""})


_MACHINE = """\
read -r id < /etc/machine-id; printf 'machine_id %s\\n' "$id"
printf 'cores '; nproc
"""

# A plan of a large fleet waits for this script. Starting a process takes a millisecond, and so does reading a kilobyte
# with the shell's read, which reads byte by byte: so short files are read, and long ones are printed with cat.
_SCRIPT = (
    _MACHINE
    + """\
read -r name < /proc/sys/kernel/hostname; printf 'hostname %s\\n' "$name"
printf 'connection %s\\n' "$connection"
printf 'systemd '; systemctl --version
if [ -L /srv ] || [ -L /srv/dyno ]; then printf 'mounts %s\\n' "$(readlink -m /srv/dyno)"; fi
squashfs=no
while read -r type more; do
  case "$type $more" in *squashfs*) squashfs=yes; break;; esac
done < /proc/filesystems
[ $squashfs = no ] && modprobe -nq squashfs 2>/dev/null && squashfs=yes
printf 'squashfs %s\\n' "$squashfs"
refused=
printf 'ruby '
if program=$(trusted_program "$ruby" 2>/dev/null); then
  as_nobody "$program" --disable=gems -e 'print RUBY_ENGINE, " ", RUBY_VERSION' </dev/null 2>/dev/null | head -c 200
elif [ -e "$ruby" ]; then refused=$program; fi
printf '\\n'
[ -z "$refused" ] || printf 'ruby_refused %s\\n' "$refused"
if [ ! -x /usr/bin/apt-get ]; then echo apt no
elif [ ! -x "$ruby" ]; then printf 'apt '; apt-cache show --no-all-versions ruby 2>/dev/null | grep ^Version:; echo
else echo apt; fi
IFS='
'
for program in $programs; do [ -x "$program" ] || printf 'missing %s\\n' "$program"; done
unset IFS
grep -hsB1 -e ' 0A ' -e 'host LOCAL' -e '^[0-9a-f]\\{32\\} ' /proc/net/tcp /proc/net/tcp6 /proc/net/fib_trie \\
  /proc/net/if_inet6
set -- /etc/systemd/system/dyno-*.service
[ -e "$1" ] && grep -H '^X-Dynoctl-' -- "$@"
"""
    + known_records.SCRIPT
    + """\
[ -d "$home" ] && echo recorded yes
[ -r "$home/salt" ] && { IFS= read -r salt < "$home/salt"; printf 'salt %s\\n' "$salt"; }
cat "$home"/applied/*.json "$home"/releases/*.json 2>/dev/null
for file in "$home"/releases/*.body; do
  [ -e "$file" ] && { file=${file##*/}; printf 'body %s\\n' "${file%.body}"; }
done
for file in "$home"/releases/*.commanded; do
  [ -e "$file" ] && { file=${file##*/}; printf 'commanded %s\\n' "${file%.commanded}"; }
done
for file in "$home"/pending/*; do [ -e "$file" ] && printf 'pending %s\\n' "${file##*/}"; done
"""
    + origin.SCRIPT
    + """\
[ -e "$home/new" ] && echo 'pending new'  # a record that is not whole
for file in "$home"/undo/*; do [ -e "$file" ] && printf 'backup %s\\n' "${file##*/}"; done
"""
)

_SOCKET = re.compile(r"^ *[0-9]+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F:]+ 0A ")
_ADDRESS = re.compile(r"^ *\|-- ([0-9.]+)$|^([0-9a-f]{32}) ")
"""A local address in /proc/net/fib_trie or /proc/net/if_inet6."""
_IP = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[0-9A-Za-z_.-]{1,15})?")
"""An IP address: it goes into the configuration of routers on other servers."""
_VERSION = re.compile(r"[0-9]{1,9}(?:\.[0-9A-Za-z]{1,20}){0,8}")


def parse(output: str, app: str = "", known: Mapping[str, str] = MappingProxyType({})) -> Facts:
    """Parse the output of the fragment. Raises ValueError if it is invalid, and NewerRecords if the records have a
    newer format. ``app`` is the one whose one-off dynos are of interest, ``known`` the records that it was told of."""
    single: dict[str, str] = {}
    missing: set[str] = set()
    ports: set[int] = set()
    pending: set[str] = set()
    backups: set[str] = set()
    releases: list[Release | None] = []
    bodies: set[int] = set()
    commanded: set[int] = set()
    applied = AppliedRecords()
    units: dict[str, dict[str, str]] = {}
    addresses: set[str] = set()
    origins: dict[str, Origin] = {}
    # The record names every server of the app, and may be much longer than all the rest: it is passed over once only.
    before, _, rest = f"\n{output}".partition("\nmeta ")
    meta, _, after = rest.partition("\n")
    lines = f"{before[1:]}\n{after}".splitlines()
    for line in [line for line in lines if line.startswith("{")]:
        if line.startswith('{"attributes":') or "number" not in (entry := answer.record(line)):
            applied.add(line)
        else:
            releases.append(release.parse(entry))
    lines = [line for line in lines if not line.startswith("{")]
    output = "\n".join(lines)
    for line in lines:
        key, _, rest = line.partition(" ")
        if socket := _SOCKET.match(line):
            ports.add(int(socket[1], 16))
        elif local := _ADDRESS.match(line):
            addresses.add(local[1] or ipaddress.IPv6Address(bytes.fromhex(local[2])).compressed)
        elif match := MARK_LINE.match(line):
            units.setdefault(match["file"], {})[match["key"]] = match["value"]
        elif key == "missing":
            missing.add(rest)
        elif key == "origin" and (made := origin.parse(answer.record(rest.partition(" ")[2]))):
            origins[PurePosixPath(rest.partition(" ")[0]).parent.name] = made
        elif key == "pending":
            pending.add(rest)
        elif key == "backup":
            backups.add(rest)
        elif key == "body" and (number := answer.digits(rest)):
            bodies.add(number)
        elif key == "commanded" and (number := answer.digits(rest)):
            commanded.add(number)
        else:
            single.setdefault(key, rest)
    if "machine_id" not in single or "cores" not in single:
        raise ValueError("no machine-id or number of cores in the output")
    if not meta_record.is_machine(single["machine_id"]):
        raise ValueError(f"invalid machine-id: {single['machine_id'][:40]}")
    version = re.search(r"systemd ([0-9]{1,6})", single.get("systemd", ""))
    connection = single.get("connection", "").split()
    engine, _, ruby = single.get("ruby", "").partition(" ")
    return Facts(
        machine_id=single["machine_id"],
        hostname=single.get("hostname", ""),
        address=connection[2] if len(connection) == 4 and _IP.fullmatch(connection[2]) else "",
        cores=_cores(single["cores"]),
        systemd=int(version[1]) if version else 0,
        squashfs=single.get("squashfs") == "yes",
        ruby=_version(ruby) if engine == "ruby" else "",
        ruby_refused=single.get("ruby_refused", "")[:500],
        missing=frozenset(missing),
        apt=_offered(single.get("apt", "no")),
        ports=frozenset(ports),
        marks=tuple(_mark(keys) for keys in units.values() if APP in keys and DYNO_NAME.match(keys.get(DYNO, ""))),
        held=held_ports.read(output),
        meta=meta_record.parse(known_records.text(meta, app, known)),
        record=applied,
        pending=frozenset(pending),
        backups=frozenset(backups),
        releases=tuple(
            replace(record, commanded=True, on="") if record.number in commanded else record
            for record in releases
            if record is not None
        ),
        bodies=frozenset(bodies),
        salt=single.get("salt", ""),
        recorded="recorded" in single,
        routes=routing.read(output),
        one_offs=one_offs.read(output, app),
        addresses=frozenset(addresses),
        origins=origins,
        system=system.read(output),
        holder=single.get("lock", ""),
        mounts=paths.checked(single.get("mounts", paths.MOUNTS)),
    )


def _cores(text: str) -> int:
    cores = answer.digits(text.strip())
    if not cores or cores > MOST_CORES:
        raise ValueError(f"invalid number of cores: {text[:40]}")
    return cores


def _offered(text: str) -> str:
    """``Version: 1:3.1`` is Ruby 3.1: the part before the colon is the epoch of Debian's package."""
    return text if text == "no" else _version(text.rpartition(":")[2].strip())


def _version(text: str) -> str:
    """The version of Ruby that a text begins with, without what Debian appends, such as ``+b1`` for a rebuild; "" if it
    begins with none."""
    found = _VERSION.match(text)
    return found[0] if found else ""


def _mark(keys: Mapping[str, str]) -> Mark:
    def number(text: str) -> int:
        return answer.digits(text) or 0

    return Mark(keys[APP], keys[DYNO], number(keys.get(PORT, "")), number(keys.get(CPU, "")), IDLE in keys)
