"""The findings about one server: what its answers mean for an apply, and how to fix what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from infra.fleet.observe import Observed
from infra.manifest.model import Manifest
from infra.model import listening, paths, routing
from infra.model.dyno_status import REMOVED, WELL, Row
from infra.model.formation import Formation
from infra.model.stack import Stack
from infra.model.text import quantity, size
from infra.ops import system_findings
from infra.ops.connectivity import Answer
from infra.ops.finding import Finding, Result, from_problems
from infra.ops.server_checks import MIB, Checkup
from infra.plan import preconditions

SKEW, BROKEN_CLOCK = 2.0, 60.0
"""Clock differences in seconds. Above SKEW, the logs of several servers are out of order; above BROKEN_CLOCK, apt and
TLS fail."""

LOW, FULL = 1024 * MIB, 256 * MIB
"""Free bytes on the disk of the slugs. The slug of a Rails app is 30 to 80 MiB, and four are kept with the new one."""

INODES = 10_000


@dataclass(frozen=True)
class Results:
    """The results of one server. ``sent`` and ``back`` are the local time before and after its answer, ``later`` its
    own time at the end of it. ``unresolved``: sudo could not resolve the server's name."""

    login: Sequence[Finding]
    observed: Observed
    checkup: Checkup
    later: float
    sent: float
    back: float
    answers: Sequence[Answer]
    rows: Sequence[Row]
    unresolved: bool = False


def about(
    name: str, results: Results, manifest: Manifest, stack: Stack, formation: Formation, to_install: Sequence[str]
) -> Iterator[Finding]:
    """The findings about the server ``name``. ``to_install`` are the packages that apply would install."""
    facts, health = results.observed.facts, results.checkup
    idle = any(server.name == name and (server.drain or not server.dynos) for server in manifest.servers)
    yield from from_problems(name, "systemd", preconditions.system(name, facts), f"{facts.systemd} on {health.system}")
    off = [controller for controller in ("cpu", "memory") if controller not in health.controllers]
    hint = f"boot with cgroup_enable={off[0]} on the kernel command line, and without cgroup_disable" if off else ""
    message = f"missing cgroup controllers: {', '.join(off)}" if off else "cgroup controllers cpu, memory"
    yield Finding(name, "limits", "failed" if off else "ok", message, hint)
    loop = "loop devices, squashfs" if health.loop else "no loop devices"
    hint = "" if health.loop else "load the kernel module: modprobe loop"
    yield Finding(name, "slugs", "ok" if health.loop else "failed", loop, hint)
    broken = health.log != "loaded"
    message = f"systemd-journald@.service is {health.log}, and starts the log of an app" if broken else "own journal"
    hint = "systemctl unmask systemd-journald@.service, or install the package of systemd again" if broken else ""
    yield Finding(name, "log", "failed" if broken else "ok", message, hint)
    if not idle:
        has = f"ruby {facts.ruby}" if facts.ruby else "not installed"
        installed = f"{has}; apply installs {', '.join(to_install)}" if to_install else has
        yield from from_problems(name, "ruby", preconditions.layers(name, facts, stack, to_install), installed)
    yield from _disks(name, health)
    yield _clock(name, results)
    yield from system_findings.about(name, health, _login_seconds(results), to_install)
    yield from _memory(name, manifest, health, formation)
    around = {name: (facts.routes, facts.ports)}
    own = {dyno.name: dyno.port for dyno in formation.dynos if dyno.server == name and dyno.port}
    ports = [f"{port} for {dyno}" for dyno, port in own.items()]
    conflicts = list(routing.conflicts(manifest.app.name, manifest.router, around))
    yield from from_problems(name, "ports", conflicts, ", ".join(ports) or "none needed")
    yield from system_findings.outgoing(name, health, list(own.values()))
    yield from _serving(name, manifest, results, formation.homes)
    yield from services(name, manifest, results.answers)


def services(name: str, manifest: Manifest, answers: Sequence[Answer]) -> Iterator[Finding]:
    """Whether a server reaches the databases and caches."""
    for answer in answers:
        hint = (
            f"check {answer.service} in {manifest.file.name}, its credentials, and the firewall between {name} and it"
        )
        result: Result = "ok" if answer.ok else "failed" if answer.checked else "warning"
        wrong = hint if result == "failed" else ""
        yield Finding(name, answer.service, result, f"{answer.adapter}: {answer.message}", wrong)


def _serving(name: str, manifest: Manifest, results: Results, homes: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the router and the dynos that are on this server do their work. ``homes`` are the servers on which the
    dynos are to be: of one that is removed and due elsewhere, or nowhere, only the record is left."""
    routers = manifest.router.servers if manifest.router is not None else ()
    routes = {name: results.observed.facts.routes}
    applied = ["router", manifest.app.name] in [key.split(".", 1) for key in results.observed.facts.record]
    for state in routing.down(manifest.app.name, routers if applied else (), routes).values():
        own = [port for route in results.observed.facts.routes for port in route.ports if state in _ENDED]
        yield _down(name, "router", state, _taken(results, "", own), "dynoctl apply")
    for row in results.rows:
        left = row.state == REMOVED and homes.get(row.dyno) != name
        if not left and row.state not in (*WELL, "starting"):
            own_name, found = f"{manifest.app.name}-{row.dyno}", results.observed.resources
            parts = [part for key, part in found.items() if key.partition(".")[2] == own_name]
            closed = all(part.attributes.get("state") not in _LISTENS for part in parts)
            hint = f"dynoctl logs --dyno {row.dyno}; to repair what was changed by hand: dynoctl apply"
            yield _down(name, row.dyno, row.state, _taken(results, row.listen, [row.port] if closed else []), hint)


_ENDED = ("stopped", "failed", "starting")
"""The states of a router that has no listener of its own."""


_LISTENS = ("listening", "outdated")
"""The states of what holds the port of a dyno."""


Listener = tuple[str, int]
"""An address and a port."""


def _taken(results: Results, host: str, ports: Sequence[int]) -> Listener | None:
    """The first listener of another program that prevents one on ``host`` ("": all addresses) and one of the ports,
    which should be free. One on another address of the server does not."""
    found = (one for port in ports for one in results.checkup.listeners if one[1] == port)
    return next((one for one in found if listening.prevents(one[0], host)), None)


def _down(name: str, what: str, state: str, taken: Listener | None, hint: str) -> Finding:
    """What does not do its work, and whether it cannot, as ``taken`` listens where it should."""
    if taken is None:
        return Finding(name, what, "failed", state, hint)
    address, port = taken
    where = f"{listening.readable(address)}:{port}"
    find = f"find the program with: ss -ltnp sport = :{port}; stop it, then: dynoctl apply"
    return Finding(name, what, "failed", f"{state}; its port is taken: another program listens on {where}", find)


def _disks(name: str, health: Checkup) -> Iterator[Finding]:
    free = []
    for disk in health.disks:
        low = disk.free < LOW or (disk.inodes is not None and disk.inodes < INODES)
        none = disk.free < FULL or (disk.inodes is not None and disk.inodes < INODES // 10)
        inodes = "" if disk.inodes is None else f" and {disk.inodes} inodes"
        room = f"{size(disk.free)}{inodes} free"
        hint = f"free disk space: du -x -d 2 {disk.path}, journalctl --vacuum-size=200M, apt-get clean"
        if disk.full:
            yield Finding(name, "disk", "failed", f"cannot write to {disk.path}: no space left on device: {room}", hint)
        elif not disk.writable:
            yield Finding(
                name,
                "disk",
                "failed",
                f"cannot write to {disk.path}",
                f"check if it is mounted read-only: findmnt -T {disk.path}",
            )
        elif disk.path in ("/var/lib", paths.STATE, "/srv"):
            free.append(f"{disk.path} {size(disk.free)}")
            if low:
                yield Finding(name, "disk", "failed" if none else "warning", f"{disk.path} has {room}", hint)
                free = []
                break
    if free:
        yield Finding(name, "disk", "ok", f"{', '.join(free)} free")


def _login_seconds(results: Results) -> float | None:
    """How long sudo took, if it could not resolve the server's name."""
    taken = (results.back - results.sent) - (results.later - results.checkup.clock)
    return max(0.0, taken) if results.unresolved else None


def _clock(name: str, results: Results) -> Finding:
    # The server read its clock twice between our two readings, so only what lies outside of them is skew.
    skew = max(0.0, results.sent - results.checkup.clock, results.later - results.back)
    if skew <= SKEW:
        near = "in sync" if skew < 0.1 else f"differs from the local clock by {skew:.1f} s"
        if results.checkup.synchronised is False:
            return Finding(name, "clock", "warning", f"{near}, but not synchronised (NTP): it will drift", _SYNC)
        return Finding(name, "clock", "ok", near)
    way = "behind" if results.checkup.clock < results.sent else "ahead of"
    return Finding(
        name, "clock", "failed" if skew > BROKEN_CLOCK else "warning", f"{skew:.0f} s {way} the local clock", _SYNC
    )


_SYNC = "set up time synchronisation: systemctl enable --now systemd-timesyncd; or check the local clock"


def _memory(name: str, manifest: Manifest, health: Checkup, formation: Formation) -> Iterator[Finding]:
    types = [dyno.rpartition(".")[0] for dyno, home in formation.homes.items() if home == name]
    most = sum(manifest.types[type_].memory for type_ in types if type_ in manifest.types)
    message = f"{quantity(len(types), 'dyno')} may use {size(most)} of {size(health.memory * MIB)}"
    hint = "lower dynos.TYPE.memory or add a server, or the kernel may kill dynos when all use their limit"
    over = most // MIB > health.memory
    yield Finding(name, "memory", "warning" if over else "ok", message, hint if over else "")
