"""What a server is, apart from any resource: identity, cores, versions, listeners, dynos of all apps, records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from infra import __version__
from infra.errors import NewerRecords
from infra.model import paths, release, routing
from infra.model.naming import APP, CPU, DYNO, DYNO_NAME, PORT, Mark
from infra.model.provider import Fragment, Scope
from infra.model.release import Release
from infra.model.routing import Route

SYSTEMD_AT_LEAST = 247
"""LoadCredential=, ProtectProc= and ProcSubset= are there from this version on."""

RECORDS_FORMAT = 1
"""The format of an app's records on a server, as its ``meta.json`` says. All older ones are read."""


@dataclass(frozen=True)
class Facts:
    """One server as found. ``ports`` are all TCP ports that something listens on; ``memory`` is in MiB.

    ``record`` is what the last apply left of this app: ``meta`` and one entry per resource key."""

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
    meta: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()
    backups: frozenset[str] = frozenset()
    """The dynos of which copies are here of what they ran before a change."""

    releases: tuple[Release, ...] = ()
    bodies: frozenset[int] = frozenset()
    """The numbers of the releases that can be made again from what is here."""
    salt: str = ""
    apt: str = ""
    """``no``, or the version of Ruby that apt would install ("" where it does not say, or is not asked)."""

    routes: tuple[Route, ...] = ()
    """What the router here does for each app."""

    def dynos(self, app: str) -> Mapping[str, Mark]:
        """The app's dynos here, by name."""
        return {mark.dyno: mark for mark in self.marks if mark.app == app}

    def recorded_ports(self) -> Mapping[str, int]:
        """The ports that the last apply gave to dynos of the app here, by dyno."""
        return {key.rpartition("-")[2]: int(entry["port"]) for key, entry in self.record.items() if entry.get("port")}


def newest_meta(found: Iterable[Facts]) -> Mapping[str, Any]:
    """The meta record with the highest serial, or an empty one."""
    metas = [facts.meta for facts in found if facts.meta]
    return max(metas, key=lambda meta: int(meta.get("serial", 0)), default={})


def fragment(scope: Scope, ruby: str, executables: tuple[str, ...]) -> Fragment:
    """The sh fragment whose output ``parse`` reads. ``ruby`` and ``executables`` are absolute paths."""
    return Fragment(
        _SCRIPT + routing.SCRIPT + ":\n", {"app": scope.app, "ruby": ruby, "programs": "\n".join(executables)}
    )


# On a busy fleet this script is what a plan waits for. A process costs a millisecond, and so does a kilobyte that
# the shell reads by itself, a byte at a time: so short files are read, and long ones are printed.
_SCRIPT = (
    """\
read -r id < /etc/machine-id; printf 'machine_id %s\\n' "$id"
read -r name < /proc/sys/kernel/hostname; printf 'hostname %s\\n' "$name"
printf 'connection %s\\n' "$connection"
printf 'cores '; nproc
printf 'systemd '; systemctl --version
squashfs=no
while read -r type more; do
  case "$type $more" in *squashfs*) squashfs=yes; break;; esac
done < /proc/filesystems
[ $squashfs = no ] && modprobe -nq squashfs 2>/dev/null && squashfs=yes
printf 'squashfs %s\\n' "$squashfs"
printf 'ruby '; "$ruby" --disable=gems -e 'print RUBY_ENGINE, " ", RUBY_VERSION' 2>/dev/null
printf '\\n'
if [ ! -x /usr/bin/apt-get ]; then echo apt no
elif [ ! -x "$ruby" ]; then printf 'apt '; apt-cache show --no-all-versions ruby 2>/dev/null | grep ^Version:; echo
else echo apt; fi
IFS='
'
for program in $programs; do [ -x "$program" ] || printf 'missing %s\\n' "$program"; done
unset IFS
grep -hs ' 0A ' /proc/net/tcp /proc/net/tcp6
set -- /etc/systemd/system/dyno-*.service
[ -e "$1" ] && grep -H '^X-Dynoctl-' -- "$@"
"""
    + f"home={paths.STATE}/$app\n"
    + """\
[ -r "$home/salt" ] && { IFS= read -r salt < "$home/salt"; printf 'salt %s\\n' "$salt"; }
printf 'meta '; cat "$home/meta.json" 2>/dev/null || printf '\\n'
cat "$home"/applied/*.json "$home"/releases/*.json 2>/dev/null
for file in "$home"/releases/*.body; do
  [ -e "$file" ] && { file=${file##*/}; printf 'body %s\\n' "${file%.body}"; }
done
for file in "$home"/releases/*.commanded; do
  [ -e "$file" ] && { file=${file##*/}; printf 'commanded %s\\n' "${file%.commanded}"; }
done
for file in "$home"/pending/*; do [ -e "$file" ] && printf 'pending %s\\n' "${file##*/}"; done
[ -e "$home/new" ] && echo 'pending new'  # a record that is not whole
for file in "$home"/undo/*; do [ -e "$file" ] && printf 'backup %s\\n' "${file##*/}"; done
"""
)

_SOCKET = re.compile(r"^ *[0-9]+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F:]+ 0A ")
_MARK = re.compile(r"^(?P<file>/[^:]+):(?P<key>X-Dynoctl-[A-Za-z]+)=(?P<value>.*)$")


def parse(output: str) -> Facts:
    """Read what the fragment printed. Raises ValueError if it makes no sense, and NewerRecords if the records were
    written by a dynoctl that may mean something else by them."""
    single: dict[str, str] = {}
    missing: set[str] = set()
    ports: set[int] = set()
    pending: set[str] = set()
    backups: set[str] = set()
    releases: list[Release | None] = []
    bodies: set[int] = set()
    commanded: set[int] = set()
    applied: dict[str, Mapping[str, Any]] = {}
    units: dict[str, dict[str, str]] = {}
    routes: list[Route | None] = []
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        if socket := _SOCKET.match(line):
            ports.add(int(socket[1], 16))
        elif match := _MARK.match(line):
            units.setdefault(match["file"], {})[match["key"]] = match["value"]
        elif word == "missing":
            missing.add(rest)
        elif word == "router":
            routes.append(routing.parse(rest))
        elif word == "pending":
            pending.add(rest)
        elif word == "backup":
            backups.add(rest)
        elif word == "body" and rest.isdigit():
            bodies.add(int(rest))
        elif word == "commanded" and rest.isdigit():
            commanded.add(int(rest))
        elif line.startswith("{"):
            entry = _json(line)
            if "number" in entry:
                releases.append(release.parse(entry))
            elif isinstance(entry.get("attributes"), dict) and isinstance(entry.get("port", 0), int):
                applied[str(entry.get("key"))] = entry
        else:
            single.setdefault(word, rest)
    if "machine_id" not in single or "cores" not in single:
        raise ValueError("the server did not say who it is")
    version = re.search(r"systemd (\d+)", single.get("systemd", ""))
    connection = single.get("connection", "").split()
    engine, _, ruby = single.get("ruby", "").partition(" ")
    return Facts(
        machine_id=single["machine_id"],
        hostname=single.get("hostname", ""),
        address=connection[2] if len(connection) == 4 else "",
        cores=int(single["cores"]),
        systemd=int(version[1]) if version else 0,
        squashfs=single.get("squashfs") == "yes",
        ruby=ruby if engine == "ruby" else "",
        missing=frozenset(missing),
        apt=_offered(single.get("apt", "no")),
        ports=frozenset(ports),
        marks=tuple(_mark(keys) for keys in units.values() if APP in keys and DYNO_NAME.match(keys.get(DYNO, ""))),
        meta=_meta(single.get("meta", "")),
        record=applied,
        pending=frozenset(pending),
        backups=frozenset(backups),
        releases=tuple(
            replace(one, commanded=True, on="") if one.number in commanded else one
            for one in releases
            if one is not None
        ),
        bodies=frozenset(bodies),
        salt=single.get("salt", ""),
        routes=tuple(one for one in routes if one is not None),
    )


def _offered(text: str) -> str:
    """``Version: 1:3.1`` is Ruby 3.1: what stands before the colon is Debian's own affair."""
    return text if text == "no" else text.rpartition(":")[2].strip()


def _mark(keys: Mapping[str, str]) -> Mark:
    def number(text: str) -> int:
        return int(text) if text.isdigit() else 0

    return Mark(keys[APP], keys[DYNO], number(keys.get(PORT, "")), number(keys.get(CPU, "")))


def _meta(text: str) -> Mapping[str, Any]:
    """The formation, without whatever in it is not of its form."""
    value = _json(text)
    _refuse_newer(value)
    serial, dynos, servers = value.get("serial"), value.get("dynos"), value.get("servers")
    if not (isinstance(serial, int) and isinstance(dynos, dict) and isinstance(servers, dict)):
        return {}
    homes = {dyno: str(home) for dyno, home in dynos.items() if DYNO_NAME.match(dyno)}
    return {
        **value,
        "serial": serial,
        "dynos": homes,
        "servers": _ways(servers),
        "spares": _ways(value.get("spares")),
        "settled": _settled(value),
    }


def _settled(meta: Mapping[str, Any]) -> Mapping[str, str]:
    """Which dynoctl last made all as which manifest wants it. 0.1.0 wrote neither its name nor this."""
    value = meta.get("settled", {} if "dynoctl" in meta else {"dynoctl": "0.1.0"})
    return {key: str(word) for key, word in value.items()} if isinstance(value, dict) else {}


def _refuse_newer(meta: Mapping[str, Any]) -> None:
    """Raise NewerRecords, with both versions, where the format of these records is not known here yet."""
    found = meta.get("version")
    if isinstance(found, int) and found > RECORDS_FORMAT:
        writer = f"dynoctl {str(meta.get('dynoctl') or '(unknown version)')[:40]}"
        raise NewerRecords(
            f"records have format {found}, written by {writer}; "
            f"dynoctl {__version__} reads formats up to {RECORDS_FORMAT}",
            f"Use {writer} or later.",
        )


def _ways(value: object) -> Mapping[str, Mapping[str, str]]:
    if not isinstance(value, dict):
        return {}
    return {
        machine: {key: str(word) for key, word in how.items()}
        for machine, how in value.items()
        if isinstance(how, dict)
    }


def _json(text: str) -> Mapping[str, Any]:
    """A damaged record is an empty one: it only ever tells drift from change."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
