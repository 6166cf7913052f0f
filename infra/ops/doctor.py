"""Check everything that an apply needs, locally and on every server in parallel; each problem with a hint."""

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
from infra.model import lock_holder, routing
from infra.model.answer import reading
from infra.model.dyno_status import WELL, Reader, Row
from infra.model.formation import Formation
from infra.model.lock_holder import Holder
from infra.model.provider import Scope
from infra.model.stack import Registry, Stack
from infra.model.target import Target
from infra.model.text import quantity
from infra.ops import server_checks
from infra.ops.connectivity import Answer, Question
from infra.ops.server_checks import MIB, Checkup
from infra.plan import preconditions, volumes
from infra.plan.formation import form
from infra.remote.parallel import each
from infra.remote.quote import observation, sections
from infra.remote.session import Session
from infra.slug import squashfs

LOCAL = "here"
"""The name of the local machine in findings, in place of a server's."""

SKEW, BROKEN_CLOCK = 2.0, 60.0
"""Clock differences in seconds. Above SKEW, the logs of several servers are out of order; above BROKEN_CLOCK, apt and
TLS fail."""

LOW, FULL = 1024 * MIB, 256 * MIB
"""Free bytes on the disk of the slugs. The slug of a Rails app is 30 to 80 MiB, and four are kept with the new one."""

INODES = 10_000

Result = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """The result of one check on one server. ``message`` is what was found, ``hint`` how to fix it if it is not ok."""

    server: str
    check: str
    result: Result
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Report:
    """Findings in the order of the servers; ``unreachable`` are the servers that could not be checked, ``applying`` is
    who applied something meanwhile."""

    findings: tuple[Finding, ...]
    unreachable: tuple[str, ...]
    applying: tuple[Holder, ...] = ()

    @property
    def failed(self) -> int:
        return sum(finding.result == "failed" for finding in self.findings)


@dataclass(frozen=True)
class _Results:
    """The results of one server. ``sent`` and ``back`` are the local time before and after its clock was read."""

    login: Sequence[Finding]
    observed: Observed
    checkup: Checkup
    sent: float
    back: float
    answers: Sequence[Answer]
    rows: Sequence[Row]


def examine(manifest: Manifest, registry: Registry, reader: Reader, now: Callable[[], float] = time.time) -> Report:
    """Run all checks; changes nothing. Failures of a server and missing secrets are findings, not errors. ``reader``
    reads the dynos."""
    stack = registry.stack(manifest)
    local, question = _local(manifest, registry, stack)
    scope = Scope(manifest.app.name, secrets.token_hex(16), packages=stack.packages, router=registry.router(manifest))
    observer = Observer(registry.providers, scope, stack.program, stack.executables)

    def ask(target: Target) -> _Results | list[Finding]:
        return _ask(target, observer, question, now, reader)

    results = {target.name: result for target, result in each(ask, targets(manifest)).items()}
    found: list[Finding] = []
    reachable = {name: result for name, result in results.items() if isinstance(result, _Results)}
    facts = {name: result.observed.facts for name, result in reachable.items()}
    having = volumes.holders(
        stack.volumes,
        {name: result.observed for name, result in reachable.items()},
        lambda name: registry.volume_key(manifest.app.name, name),
    )
    lost = [name for name in results if name not in reachable]
    formation = form(manifest, facts, lost, volumes=stack.volumes, holders=having)
    for name, result in results.items():
        if isinstance(result, _Results):
            to_install = preconditions.missing(stack, result.observed, registry.package_key)
            found += [*result.login, *_server(name, result, manifest, stack, formation, to_install)]
        elif isinstance(result, DynoctlError):
            found.append(_failed(name, "ssh", result))
        else:
            found += result
    problems = [*preconditions.other_destinations(manifest, facts), *_twins(facts), *formation.errors]
    fleet = [Finding("fleet", "dynos", "failed", problem.summary, _hint(problem)) for problem in problems]
    wanted = sum(type_.count for type_ in manifest.types.values())
    if not problems and reachable:
        message = f"{len(formation.homes)} of {quantity(wanted, 'dyno')} placed"
        full = len(formation.homes) == wanted
        hint = "the unreachable servers may have capacity for the rest"
        fleet = [Finding("fleet", "dynos", "ok" if full else "warning", message, "" if full else hint)]
    applying = lock_holder.holders(server.holder for server in facts.values())
    return Report((*local, *found, *fleet), tuple(name for name in results if name not in reachable), applying)


def _local(manifest: Manifest, registry: Registry, stack: Stack) -> tuple[list[Finding], Question | None]:
    """Check the local machine: the manifest, the app's source and the references."""
    found = [Finding(LOCAL, "manifest", "ok", f"{manifest.file.name} is valid")]
    try:
        slug = registry.slug(manifest, stack)
        squashfs.find()
        found.append(Finding(LOCAL, "app", "ok", f"slug {slug.digest[:12]}"))
    except DynoctlError as error:
        found.append(_failed(LOCAL, "app", error))
    question = None
    try:
        resolver = resolver_of(manifest)
        environment = resolve_environment(manifest, resolver)
        resolve_credentials(manifest, resolver)
        resolve_tls(manifest)
        question = Question(manifest, stack.program)
        found.append(Finding(LOCAL, "secrets", "ok", f"{len(environment)} config vars resolved"))
    except ManifestInvalid as error:
        found += [Finding(LOCAL, "secrets", "failed", problem.summary, _hint(problem)) for problem in error.diagnostics]
    except DynoctlError as error:
        found.append(_failed(LOCAL, "secrets", error))
    return found, question


def _ask(
    target: Target, observer: Observer, question: Question | None, now: Callable[[], float], reader: Reader
) -> _Results | list[Finding]:
    """Check one server over one connection; if that fails, the findings so far."""
    findings: list[Finding] = []
    try:
        session = Session(target)
    except DynoctlError as error:
        return [_failed(target.name, "ssh", error)]
    try:
        findings.append(Finding(target.name, "ssh", "ok", f"{session.user}@{target.host}, {session.host_key}"))
        nonce = secrets.token_hex(12)
        sent = now()
        text = session.run(observation({"checkup": server_checks.fragment()}, nonce), what="checkup").stdout
        back = now()
        with reading(target.name):
            health = server_checks.parse(sections(text, nonce)["checkup"][1])
        findings.append(Finding(target.name, "root", "ok", "login as root" if session.user == "root" else "with sudo"))
        observed = observer.look(session)
        parts = session.observe({"processes": reader.observe(observer.scope)})
        with reading(target.name):
            answers = question.put(session) if question else ()
            rows = reader.parse(observer.scope, target.name, parts["processes"][1])
        return _Results(findings, observed, health, sent, back, answers=answers, rows=rows)
    except DynoctlError as error:
        return [*findings, _failed(target.name, "system" if len(findings) > 1 else "root", error)]
    finally:
        session.close()


def _server(
    name: str, results: _Results, manifest: Manifest, stack: Stack, formation: Formation, to_install: Sequence[str]
) -> Iterator[Finding]:
    facts, health = results.observed.facts, results.checkup
    idle = any(server.name == name and (server.drain or not server.dynos) for server in manifest.servers)
    yield from _finding(name, "systemd", preconditions.system(name, facts), f"{facts.systemd} on {health.system}")
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
        yield from _finding(name, "ruby", preconditions.layers(name, facts, stack, to_install), installed)
    yield from _disks(name, health)
    yield _clock(name, results)
    yield from _memory(name, manifest, health, formation)
    around = {name: (facts.routes, facts.ports)}
    ports = [f"{dyno.port} for {dyno.name}" for dyno in formation.dynos if dyno.server == name and dyno.port]
    conflicts = list(routing.conflicts(manifest.app.name, manifest.router, around))
    yield from _finding(name, "ports", conflicts, ", ".join(ports) or "none needed")
    yield from _serving(name, manifest, results)
    for answer in results.answers:
        hint = (
            f"check {answer.service} in {manifest.file.name}, its credentials, and the firewall between {name} and it"
        )
        result: Result = "ok" if answer.ok else "failed"
        yield Finding(name, answer.service, result, f"{answer.adapter}: {answer.message}", "" if answer.ok else hint)


def _serving(name: str, manifest: Manifest, results: _Results) -> Iterator[Finding]:
    """Whether the router and the dynos that are on this server do their work."""
    routers = manifest.router.servers if manifest.router is not None else ()
    routes = {name: results.observed.facts.routes}
    applied = bool(results.observed.facts.meta)
    for state in routing.down(manifest.app.name, routers if applied else (), routes).values():
        yield Finding(name, "router", "failed", state, "dynoctl apply")
    for row in results.rows:
        if row.state not in (*WELL, "starting"):
            hint = f"dynoctl logs -d {row.dyno}; to repair what was changed by hand: dynoctl apply"
            yield Finding(name, row.dyno, "failed", row.state, hint)


def _disks(name: str, health: Checkup) -> Iterator[Finding]:
    free = []
    for disk in health.disks:
        if not disk.writable:
            yield Finding(
                name,
                "disk",
                "failed",
                f"cannot write to {disk.path}",
                f"check if it is mounted read-only: findmnt -T {disk.path}",
            )
        elif disk.path in ("/var/lib", "/srv"):
            free.append(f"{disk.path} {disk.free // MIB} MiB")
            low = disk.free < LOW or (disk.inodes is not None and disk.inodes < INODES)
            none = disk.free < FULL or (disk.inodes is not None and disk.inodes < INODES // 10)
            if low:
                inodes = "" if disk.inodes is None else f" and {disk.inodes} inodes"
                message = f"{disk.path} has {disk.free // MIB} MiB{inodes} free"
                hint = f"free disk space: du -x -d 2 {disk.path}, journalctl --vacuum-size=200M, apt-get clean"
                yield Finding(name, "disk", "failed" if none else "warning", message, hint)
                free = []
                break
    if free:
        yield Finding(name, "disk", "ok", f"{', '.join(free)} free")


def _clock(name: str, results: _Results) -> Finding:
    # The server read its clock between our two readings, so only what lies outside of them is skew.
    skew = max(0.0, results.sent - results.checkup.clock, results.checkup.clock - results.back)
    if skew <= SKEW:
        return Finding(
            name, "clock", "ok", "in sync" if skew < 0.1 else f"differs from the local clock by {skew:.1f} s"
        )
    way = "behind" if results.checkup.clock < results.sent else "ahead of"
    hint = "set up time synchronisation: systemctl enable --now systemd-timesyncd; or check the local clock"
    return Finding(
        name, "clock", "failed" if skew > BROKEN_CLOCK else "warning", f"{skew:.0f} s {way} the local clock", hint
    )


def _memory(name: str, manifest: Manifest, health: Checkup, formation: Formation) -> Iterator[Finding]:
    types = [dyno.rpartition(".")[0] for dyno, home in formation.homes.items() if home == name]
    most = sum(manifest.types[type_].memory for type_ in types if type_ in manifest.types) // MIB
    message = f"{quantity(len(types), 'dyno')} may use {most} of {health.memory} MiB"
    hint = "lower dynos.TYPE.memory or add a server, or the kernel may kill dynos when all use their limit"
    over = most > health.memory
    yield Finding(name, "memory", "warning" if over else "ok", message, hint if over else "")


def _finding(name: str, check: str, problems: Sequence[Diagnostic], well: str) -> Iterator[Finding]:
    if not problems:
        yield Finding(name, check, "ok", well)
    for problem in problems:
        yield Finding(name, check, "failed", problem.summary.removeprefix(f"{name}: "), _hint(problem))


def _hint(problem: Diagnostic) -> str:
    return problem.hint or problem.expected


def _twins(facts: Mapping[str, Facts]) -> Iterator[Diagnostic]:
    machines: dict[str, str] = {}
    for name, server in facts.items():
        twin = machines.setdefault(server.machine_id, name)
        if twin != name:
            yield preconditions.twins(name, twin, server.machine_id)


def _failed(server: str, check: str, error: DynoctlError) -> Finding:
    return Finding(server, check, "failed", error.summary.removeprefix(f"{server}: "), error.hint)
