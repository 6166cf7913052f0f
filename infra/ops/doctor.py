"""Everything that an apply needs, asked of this machine and of every server at once; each fault with its cure."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from infra.errors import Diagnostic, DynoctlError, ManifestInvalid
from infra.fleet.facts import Facts
from infra.fleet.inventory import targets
from infra.fleet.observe import Observed, Observer
from infra.manifest.model import Manifest
from infra.manifest.references import resolve_credentials, resolve_environment, resolve_tls, resolver_of
from infra.model import routing
from infra.model.formation import Formation
from infra.model.provider import Scope
from infra.model.stack import Registry, Stack
from infra.model.target import Target
from infra.ops import server_checks
from infra.ops.connectivity import Answer, Question
from infra.ops.server_checks import MIB, Checkup
from infra.plan import preconditions
from infra.plan.formation import form
from infra.remote.parallel import each
from infra.remote.quote import observation, sections
from infra.remote.session import Session
from infra.slug import squashfs

HERE = "here"
"""What stands for this machine where a server's name would."""

SKEW, BROKEN_CLOCK = 2.0, 60.0
"""Seconds. Beyond the first, logs of several servers come in a wrong order; beyond the second, apt and TLS refuse."""

LOW, FULL = 1024 * MIB, 256 * MIB
"""Bytes free where slugs lie. A slug of a Rails app is 30 to 80 MiB, and three are kept beside the one that comes."""

INODES = 10_000

Result = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: where, what, how it is, and what to do about it."""

    server: str
    check: str
    result: Result
    says: str
    cure: str = ""


@dataclass(frozen=True)
class Report:
    """Findings in the order of servers; ``unreachable`` are those that could not be asked."""

    findings: tuple[Finding, ...]
    unreachable: tuple[str, ...]

    @property
    def failed(self) -> int:
        return sum(one.result == "failed" for one in self.findings)


@dataclass(frozen=True)
class _Seen:
    """What one server said. ``sent`` and ``back`` are our clock before and after it told its own."""

    login: Sequence[Finding]
    observed: Observed
    checkup: Checkup
    sent: float
    back: float
    answers: Sequence[Answer]


def examine(manifest: Manifest, registry: Registry, now: Callable[[], float] = time.time) -> Report:
    """Ask; changes nothing. Nothing raises for one server, nor for a secret that is missing here."""
    stack = registry.stack(manifest)
    here, question = _here(manifest, registry, stack)
    scope = Scope(manifest.app.name, secrets.token_hex(16), packages=stack.packages, router=registry.router(manifest))
    observer = Observer(registry.providers, scope, stack.program, stack.executables)

    def ask(target: Target) -> _Seen | list[Finding]:
        return _ask(target, observer, question, now)

    said = {target.name: answer for target, answer in each(ask, targets(manifest)).items()}
    found: list[Finding] = []
    seen = {name: one for name, one in said.items() if isinstance(one, _Seen)}
    facts = {name: one.observed.facts for name, one in seen.items()}
    formation = form(manifest, facts, [name for name in said if name not in seen])
    for name, one in said.items():
        if isinstance(one, _Seen):
            coming = preconditions.missing(stack, one.observed, registry.package_key)
            found += [*one.login, *_server(name, one, manifest, stack, formation, coming)]
        elif isinstance(one, DynoctlError):
            found.append(_failed(name, "ssh", one))
        else:
            found += one
    problems = [*preconditions.other_destinations(manifest, facts), *_twins(facts), *formation.errors]
    fleet = [Finding("fleet", "dynos", "failed", one.summary, one.hint or one.expected) for one in problems]
    wanted = sum(one.count for one in manifest.types.values())
    if not problems and seen:
        says = f"{len(formation.homes)} of {wanted} have a place"
        full = len(formation.homes) == wanted
        cure = "The servers that did not answer may have room for the rest."
        fleet = [Finding("fleet", "dynos", "ok" if full else "warning", says, "" if full else cure)]
    return Report((*here, *found, *fleet), tuple(name for name in said if name not in seen))


def _here(manifest: Manifest, registry: Registry, stack: Stack) -> tuple[list[Finding], Question | None]:
    """What this machine brings: the app's tree, and what references give."""
    found = [Finding(HERE, "manifest", "ok", f"{manifest.file.name} is valid")]
    try:
        slug = registry.slug(manifest, stack)
        squashfs.find()
        found.append(Finding(HERE, "app", "ok", f"its slug is {slug.digest[:12]}"))
    except DynoctlError as error:
        found.append(_failed(HERE, "app", error))
    question = None
    try:
        resolver = resolver_of(manifest)
        environment = resolve_environment(manifest, resolver)
        resolve_credentials(manifest, resolver)
        resolve_tls(manifest)
        question = Question(manifest, stack.program)
        found.append(Finding(HERE, "secrets", "ok", f"all {len(environment)} variables have a value"))
    except ManifestInvalid as error:
        found += [
            Finding(HERE, "secrets", "failed", one.summary, one.hint or one.expected) for one in error.diagnostics
        ]
    except DynoctlError as error:
        found.append(_failed(HERE, "secrets", error))
    return found, question


def _ask(
    target: Target, observer: Observer, question: Question | None, now: Callable[[], float]
) -> _Seen | list[Finding]:
    """What a server says, over one connection; where it comes to nothing, how far it came."""
    findings: list[Finding] = []
    try:
        session = Session(target)
    except DynoctlError as error:
        return [_failed(target.name, "ssh", error)]
    try:
        findings.append(Finding(target.name, "ssh", "ok", f"{session.user}@{target.host}, {session.host_key}"))
        nonce = secrets.token_hex(12)
        sent = now()
        text = session.run(observation({"checkup": server_checks.fragment()}, nonce)).stdout
        back = now()
        try:
            health = server_checks.parse(sections(text, nonce)["checkup"][1])
        except (KeyError, ValueError):
            raise DynoctlError(
                f"{target.name}: what the server said cannot be read", "Is it a Linux server with systemd?"
            ) from None
        findings.append(Finding(target.name, "root", "ok", "by itself" if session.user == "root" else "by sudo"))
        observed = observer.look(session)
        return _Seen(findings, observed, health, sent, back, question.put(session) if question else ())
    except DynoctlError as error:
        return [*findings, _failed(target.name, "system" if len(findings) > 1 else "root", error)]
    finally:
        session.close()


def _server(
    name: str, seen: _Seen, manifest: Manifest, stack: Stack, formation: Formation, coming: Sequence[str]
) -> Iterator[Finding]:
    facts, health = seen.observed.facts, seen.checkup
    idle = any(one.name == name and (one.drain or not one.dynos) for one in manifest.servers)
    yield from _told(name, "systemd", preconditions.system(name, facts), f"{facts.systemd} on {health.system}")
    off = [one for one in ("cpu", "memory") if one not in health.controllers]
    cure = f"Boot with cgroup_enable={off[0]} on the kernel's command line, and without cgroup_disable." if off else ""
    says = f"no control groups for {' and '.join(off)}" if off else "CPU and memory can be limited"
    yield Finding(name, "limits", "failed" if off else "ok", says, cure)
    loop = "loop devices, squashfs" if health.loop else "no loop devices"
    cure = "" if health.loop else "Load the module: modprobe loop. A slug is mounted by one."
    yield Finding(name, "slugs", "ok" if health.loop else "failed", loop, cure)
    if not idle:
        has = f"ruby {facts.ruby}" if facts.ruby else "none yet"
        brings = f"{has}; apply installs {', '.join(coming)}" if coming else has
        yield from _told(name, "ruby", preconditions.layers(name, facts, stack, coming), brings)
    yield from _disks(name, health)
    yield _clock(name, seen)
    yield from _memory(name, manifest, health, formation)
    around = {name: (facts.routes, facts.ports)}
    ports = [f"{one.port} for {one.name}" for one in formation.dynos if one.server == name and one.port]
    conflicts = list(routing.conflicts(manifest.app.name, manifest.router, around))
    yield from _told(name, "ports", conflicts, ", ".join(ports) or "none needed")
    for answer in seen.answers:
        cure = f"Check {answer.service} in the manifest, its login, and the firewall between {name} and it."
        result: Result = "ok" if answer.ok else "failed"
        yield Finding(name, answer.service, result, f"{answer.adapter}: {answer.says}", "" if answer.ok else cure)


def _disks(name: str, health: Checkup) -> Iterator[Finding]:
    free = []
    for disk in health.disks:
        if not disk.writable:
            yield Finding(name, "disk", "failed", f"{disk.path} cannot be written to", "Is it mounted read-only? mount")
        elif disk.path in ("/var/lib", "/srv"):
            free.append(f"{disk.path} {disk.free // MIB} MiB")
            low = disk.free < LOW or (disk.inodes is not None and disk.inodes < INODES)
            none = disk.free < FULL or (disk.inodes is not None and disk.inodes < INODES // 10)
            if low:
                inodes = "" if disk.inodes is None else f" and {disk.inodes} inodes"
                says = f"{disk.path} has {disk.free // MIB} MiB{inodes} free"
                cure = f"Make room: du -x -d 2 {disk.path}, journalctl --vacuum-size=200M, apt-get clean."
                yield Finding(name, "disk", "failed" if none else "warning", says, cure)
                free = []
                break
    if free:
        yield Finding(name, "disk", "ok", f"{', '.join(free)} free")


def _clock(name: str, seen: _Seen) -> Finding:
    # The server's moment lies somewhere between our two; what is outside of them is skew for certain.
    skew = max(0.0, seen.sent - seen.checkup.clock, seen.checkup.clock - seen.back)
    if skew <= SKEW:
        return Finding(name, "clock", "ok", "as here" if skew < 0.1 else f"{skew:.1f} s beside ours")
    way = "behind" if seen.checkup.clock < seen.sent else "ahead of"
    cure = "Let it follow a time server: systemctl enable --now systemd-timesyncd, or chrony. Or is it this machine's?"
    return Finding(name, "clock", "failed" if skew > BROKEN_CLOCK else "warning", f"{skew:.0f} s {way} ours", cure)


def _memory(name: str, manifest: Manifest, health: Checkup, formation: Formation) -> Iterator[Finding]:
    types = [dyno.rpartition(".")[0] for dyno, home in formation.homes.items() if home == name]
    most = sum(manifest.types[one].memory for one in types if one in manifest.types) // MIB
    says = f"{len(types)} dynos may take {most} MiB of {health.memory}"
    cure = "When all take their most at once the kernel ends one. Lower dynos.TYPE.memory, or add a server."
    over = most > health.memory
    yield Finding(name, "memory", "warning" if over else "ok", says, cure if over else "")


def _told(name: str, check: str, problems: Sequence[Diagnostic], well: str) -> Iterator[Finding]:
    if not problems:
        yield Finding(name, check, "ok", well)
    for one in problems:
        yield Finding(name, check, "failed", one.summary.removeprefix(f"{name}: "), one.hint or one.expected)


def _twins(facts: Mapping[str, Facts]) -> Iterator[Diagnostic]:
    machines: dict[str, str] = {}
    for name, one in facts.items():
        twin = machines.setdefault(one.machine_id, name)
        if twin != name:
            yield preconditions.twins(name, twin, one.machine_id)


def _failed(server: str, check: str, error: DynoctlError) -> Finding:
    return Finding(server, check, "failed", error.summary.removeprefix(f"{server}: "), error.hint)
