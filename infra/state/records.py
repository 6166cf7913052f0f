"""The records of the last apply on each server: a small file per resource, a pending marker for each dyno whose change
is in progress, and the formation. They tell drift from change, and keep the numbers of dynos on unreachable servers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Container, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from infra import __version__
from infra.fleet.facts import Facts, newest_meta
from infra.fleet.identity import NONE, Connections, identify, machine_of, recorded_connections
from infra.fleet.meta_record import RECORDS_FORMAT
from infra.fleet.observe import Observed
from infra.fleet.witnesses import marked
from infra.manifest.model import Manifest
from infra.model import paths
from infra.model.release import Release
from infra.model.resource import Change, Command
from infra.plan.plan import Plan
from infra.plan.upgrade import Build
from infra.state import config
from infra.state.vouching import NOTHING, Known, kept_settings

# Each input line is a file: its name, a space, and the JSON; without JSON the file is removed. There is one name for an
# incomplete file: if a power failure leaves it, the next record replaces it. A pending marker is only a name, as a file
# that is empty can be made on a full disk: a revert must not fail there.
_WRITE = """\
umask 077
mkdir -p "$1" && cd "$1" || exit
while read -r name text; do
  case $name in */*) mkdir -p "${name%/*}";; esac
  if [ -z "$text" ]; then rm -f "$name"; continue; fi
  case $name in pending/*) true > "$name" && continue;; esac
  printf '%s\\n' "$text" > new && sync new && mv -f new "$name" && continue
  rm -f new; echo "cannot write $1/$name:"; df -h .
  exit 1
done
rmdir applied pending releases 2>/dev/null
set -- .
for directory in applied pending releases; do [ ! -d "$directory" ] || set -- "$@" "$directory"; done
sync "$@"
"""

_FORGET = f"""\
{paths.DROP}
rm -rf "$1" || exit
shift
drop "$@"
"""


def write(app: str, entries: Sequence[tuple[str, str | None]]) -> Command:
    """Write record files, given as relative names and one line of text each; None removes the file."""
    lines = "".join(f"{name} {text or ''}\n" for name, text in entries)
    argv = ("sh", "-c", _WRITE, "record", paths.home(app))
    return Command(argv, stdin=lines.encode(), secret=True, quiet=True, label="write records")


def forget(app: str) -> Command:
    """Remove all records of the app, and the directories that an interrupted apply may have left empty."""
    mounts, environments = paths.mounts(app), paths.env_directory(app)
    roots = (parent.rpartition("/")[0] for parent in (mounts, environments))
    words = ("forget", paths.home(app), paths.STATE, mounts, environments, *roots)
    return Command(("sh", "-c", _FORGET, *words), label="remove the records")


def release(released: Release) -> tuple[str, str | None]:
    """The record of a release."""
    return (f"releases/{released.number}.json", released.as_json())


def commanded(app: str, number: int) -> str:
    """The path of the file that exists once the release command has succeeded; the release's record may lag behind."""
    return f"{paths.releases(app)}/{number}.commanded"


TRIAL = "trial"
"""The pending marker of a candidate or release command. If it is found later, they may have left something behind."""


def begin(dyno: str) -> tuple[str, str | None]:
    """The pending marker of a dyno whose change is in progress. If it is found later, the dyno must restart."""
    return (f"pending/{dyno}", "changing")


def end(dyno: str) -> tuple[str, str | None]:
    """Remove the pending marker of a dyno."""
    return (f"pending/{dyno}", None)


def applied(change: Change, attributes: Mapping[str, object]) -> tuple[str, str | None]:
    """The record of a change that was made, with the ``attributes`` that the provider records."""
    key = change.resource.key
    name = _file(key)
    if change.after is None:
        return (name, None)
    entry: dict[str, Any] = {"key": key, "attributes": dict(attributes)}
    if change.resource.port:
        entry["port"] = change.resource.port
    return (name, json.dumps(entry, sort_keys=True))


def _file(key: str) -> str:
    return f"applied/{quote(key, safe='@')}.json"


def orphaned(plan: Plan, server: str, observed: Observed) -> list[tuple[str, str | None]]:
    """The entries that remove orphaned records from a server: an interrupted removal leaves the record of the removed
    resource, and a dyno that was never created its pending marker. None if the plan has only a subset of the
    changes."""
    if plan.left_out or server in plan.left_on:
        return []
    changes = [change.resource for change in plan.by_server.get(server, ())]
    keys = {resource.key for resource in changes} | observed.resources.keys()
    dynos = {resource.dyno for resource in changes}
    removed = [(_file(key), None) for key in sorted(observed.facts.record.keys() - keys)]
    return [*removed, *(end(dyno) for dyno in sorted(observed.facts.pending - dynos - {TRIAL}))]


def meta(
    app: str,
    environment: str,
    *,
    serial: int,
    who: str,
    when: str,
    homes: Mapping[str, str],
    servers: Mapping[str, Mapping[str, str]],
    spares: Mapping[str, Mapping[str, str]],
    settled: Mapping[str, str],
    settings: Mapping[str, Any] | None = None,
    routers: Collection[str] = (),
    moving: Mapping[str, str] = MappingProxyType({}),
    leaving: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, str | None]:
    """The record of the formation after an apply.

    ``environment`` is the destination, or ``default``. ``homes`` maps dynos to machine-ids. ``servers`` maps
    machine-ids to their connection (name, host, user, port, gateway) and the address of their dynos, and so does
    ``spares`` for servers without dynos and router. ``when`` is UTC in ISO 8601. ``settled`` is the build of dynoctl
    and the manifest of the last complete apply, ``settings`` its settings, by ``infra.state.config``. ``routers`` are
    the machine-ids of the servers with a router of the app, and until the apply is complete of those that had one;
    ``moving`` maps dynos to the machine-ids of the servers that they leave, until then. ``leaving`` are, in the same
    way, the dynos that are no longer wanted and may still run."""
    return (
        "meta.json",
        json.dumps(
            {
                "version": RECORDS_FORMAT,
                "dynoctl": __version__,
                "app": app,
                "environment": environment,
                "serial": serial,
                "who": who,
                "when": when,
                "dynos": dict(homes),
                "servers": {machine: dict(connection) for machine, connection in servers.items()},
                "settled": dict(settled),
                "config": settings,
                "spares": {machine: dict(connection) for machine, connection in spares.items()},
                "routers": sorted(routers),
                **({"moving": dict(moving)} if moving else {}),
                **({"leaving": dict(leaving)} if leaving else {}),
            },
            sort_keys=True,
        ),
    )


def formation(
    manifest: Manifest,
    plan: Plan,
    found: Mapping[str, Observed],
    who: str,
    when: str,
    *,
    settled: bool = False,
    in_force: bool = False,
    build: Build | None = None,
    forget: Container[str] = (),
    known: Known = NOTHING,
    homes: Mapping[str, str] | None = None,
    hint: Connections = NONE,
    trust: Collection[str] = (),
) -> tuple[str, str | None]:
    """The meta record for this plan: the homes of all dynos, and the connections of all servers of the app.

    Servers that are unreachable or no longer in the manifest are kept unchanged, except those in ``forget`` (by
    machine-id). So is the address of a server that is not reached at the one in the manifest.
    If the apply is complete (``settled``), servers without dynos and router are spares, as long as they are in the
    manifest. ``build`` is this build of dynoctl if the apply is complete. ``in_force``: everything was done on the
    servers that were reached, so the settings of the manifest are in force. ``homes`` are the servers of the
    dynos if not all of the plan was done. ``found`` shows which dynos are still there that are no longer wanted."""
    facts = {name: observed.facts for name, observed in found.items()}
    last = newest_meta(facts.values())
    connections = recorded_connections(last)
    identities = identify(manifest, facts)
    machines = {name: observed.machine_id for name, observed in facts.items()}
    before = set(last.get("dynos", {}).values())
    for server in manifest.servers:
        machine = machines.get(server.name) or machine_of(server.name, identities, before)
        if machine is None:
            continue
        machines[server.name] = machine
        if machine not in identities.displaced:
            own = connections.get(machine, {}).get("address", "")
            connections[machine] = {
                "name": server.name,
                "host": server.host,
                "user": server.user or manifest.ssh.user or "",
                "port": str(server.port or ""),
                "gateway": manifest.ssh.gateway or "",
                "address": facts[server.name].own_address(last) if server.name in facts else own,
            }
    ours = set(machines.values()) - identities.displaced
    said = {machine: way for machine, way in connections.items() if machine not in ours}
    connections |= marked(said, facts, hint, trust)
    planned = plan.formation.homes if homes is None else homes
    placed = {dyno: machines[home] for dyno, home in planned.items() if home in machines}
    leaving = _leaving(plan, last, machines, facts, forget)
    routing = () if manifest.router is None else manifest.router.servers
    carrying = {*placed.values(), *leaving.values(), *(machines[name] for name in routing if name in machines)}
    carrying |= set() if settled else set(last.get("servers", {}))
    kept = {machines[server.name] for server in manifest.servers if server.name in machines}
    kept |= set() if settled else set(last.get("spares", {}))  # a server that left may still have to be cleaned
    servers = {
        machine: connection
        for machine, connection in connections.items()
        if machine not in forget and machine in carrying
    }
    spares = {
        machine: connection
        for machine, connection in connections.items()
        if machine not in forget and machine in kept and machine not in servers
    }
    return meta(
        manifest.app.name,
        manifest.environment,
        serial=int(str(last.get("serial", 0))) + 1,
        who=who,
        when=when,
        homes=placed,
        servers=servers,
        spares=spares,
        settled=last.get("settled", {}) if build is None else build.settled(manifest.digest),
        settings=config.document(manifest) if settled or in_force else kept_settings(last, facts, known),
        routers=(
            {machines[name] for name in routing if name in machines}
            | {machine for machine in last.get("routers", ()) if not settled and machine in servers}
        ),
        moving={} if settled else {**_unfinished(plan, last, placed), **_moving(plan, machines, placed)},
        leaving=leaving,
    )


def _moving(plan: Plan, machines: Mapping[str, str], homes: Mapping[str, str]) -> dict[str, str]:
    """The machine-ids of the servers that dynos leave for another one. Evacuated servers count as lost. ``homes`` are
    machine-ids."""
    return {
        dyno: machines[server]
        for dyno, server in plan.formation.before.items()
        if server in machines and homes.get(dyno, machines[server]) != machines[server] and server not in plan.evacuated
    }


def _leaving(
    plan: Plan, last: Mapping[str, Any], machines: Mapping[str, str], facts: Mapping[str, Facts], forget: Container[str]
) -> dict[str, str]:
    """The machine-ids of the servers of dynos that are no longer wanted, and that are still there or on a server that
    is unreachable. If one is wanted again, it must not start on another server."""
    wanted, before = plan.formation.homes, plan.formation.before
    given_up = {machines[server] for server in plan.evacuated if server in machines}
    given_up |= {server.machine_id for server in facts.values()}
    unseen = {
        dyno: machine
        for dyno, machine in last.get("leaving", {}).items()
        if dyno not in wanted and machine not in given_up and machine not in forget
    }
    seen = {
        dyno: machines[server]
        for dyno, server in before.items()
        if dyno not in wanted and server in machines and server not in plan.evacuated
    }
    here = {machines[name]: {*server.dynos(plan.app), *server.held} for name, server in facts.items()}
    return unseen | {dyno: machine for dyno, machine in seen.items() if dyno in here.get(machine, (dyno,))}


def _unfinished(plan: Plan, last: Mapping[str, Any], homes: Mapping[str, str]) -> dict[str, str]:
    """Of earlier moves, those to a server that is unreachable: nobody knows whether it runs the dyno."""
    return {
        dyno: machine
        for dyno, machine in last.get("moving", {}).items()
        if plan.formation.homes.get(dyno) in plan.unreachable and homes.get(dyno) == last.get("dynos", {}).get(dyno)
    }


def outdated(manifest: Manifest, plan: Plan, found: Mapping[str, Observed]) -> bool:
    """Whether the recorded formation differs from the current one although there are no changes: a server has a new
    name, or no longer runs anything; or a setting changed that changes nothing there, such as the rollout."""
    last = newest_meta(observed.facts for observed in found.values())
    if plan.changes or plan.left_out or not last:
        return False
    settings = last.get("config")
    if isinstance(settings, Mapping) and config.differing(config.document(manifest), settings):
        return True
    if plan.unreachable or plan.busy:
        return False
    new = json.loads(formation(manifest, plan, found, "", "", settled=True)[1] or "{}")
    if last.get("leaving", {}) != new.get("leaving", {}):
        return True
    return any(last.get(key) != new[key] for key in ("servers", "spares", "dynos", "routers"))


def new_salt() -> str:
    """A salt for the digests of env files in the records: 128 random bits in hex."""
    return secrets.token_hex(16)
