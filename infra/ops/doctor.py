"""Check everything that an apply needs, locally and on every server in parallel; each problem with a hint."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from infra.errors import Diagnostic, DynoctlError, ManifestInvalid
from infra.fleet.facts import Facts
from infra.fleet.inventory import targets
from infra.fleet.observe import Observer
from infra.fleet.problems import cure_while_held, rollback_held
from infra.manifest.model import Artifacts, Manifest
from infra.manifest.references import (
    resolve_artifacts,
    resolve_credentials,
    resolve_environment,
    resolve_tls,
    resolver_of,
)
from infra.model import answer, lock_holder, merged_releases
from infra.model.answer import reading
from infra.model.dyno_status import Reader
from infra.model.lock_holder import Holder
from infra.model.provider import Scope
from infra.model.release import hold
from infra.model.stack import Registry, Stack
from infra.model.target import Target
from infra.model.text import quantity
from infra.ops import artifact_checks, observer_program, server_checks, server_findings
from infra.ops.connectivity import Question
from infra.ops.finding import Finding, hint_of
from infra.ops.server_findings import Results
from infra.ops.sudoers import read_only_program
from infra.plan import preconditions, volumes
from infra.plan.formation import form
from infra.remote import known_hosts
from infra.remote.login_shell import UNRESOLVED
from infra.remote.parallel import each
from infra.remote.session import Session
from infra.slug import squashfs

TIMEOUT = 90
"""Seconds that the answer of a server may take: a sudo that cannot resolve the server's name takes 20, and so may
the checks of services."""

LOCAL = "here"
"""The name of the local machine in findings, in place of a server's."""


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


def examine(manifest: Manifest, registry: Registry, reader: Reader, now: Callable[[], float] = time.time) -> Report:
    """Run all checks; changes nothing. Failures of a server and missing secrets are findings, not errors. ``reader``
    reads the dynos."""
    stack = registry.stack(manifest)
    local, question, source = _local(manifest, registry, stack)
    scope = Scope(
        manifest.app.name,
        secrets.token_hex(16),
        packages=stack.packages,
        router=registry.router(manifest),
        build_packages=registry.build_packages(manifest),
    )
    observer = Observer(registry.providers, scope, stack.program, stack.executables)

    def ask(target: Target) -> Results | list[Finding]:
        return _ask(target, observer, question, manifest.artifacts, now, reader)

    results = {target.name: result for target, result in each(ask, targets(manifest)).items()}
    program = cache(lambda: read_only_program(manifest, registry))
    found: list[Finding] = []
    reachable = {name: result for name, result in results.items() if isinstance(result, Results)}
    facts = {name: result.observed.facts for name, result in reachable.items()}
    having = volumes.holders(
        stack.volumes,
        {name: result.observed for name, result in reachable.items()},
        lambda name: registry.volume_key(manifest.app.name, name),
    )
    lost = [name for name in results if name not in reachable]
    formation = form(manifest, facts, lost, volumes=stack.volumes, holders=having)
    for name, result in results.items():
        if isinstance(result, Results):
            to_install = preconditions.missing(stack, result.observed, registry.package_key)
            found += [*result.login, *server_findings.about(name, result, manifest, stack, formation, to_install)]
            if (observing := observer_program.examine(manifest.app.name, result.checkup, program)) is not None:
                found.append(Finding(name, "observer", *observing))
        elif isinstance(result, DynoctlError):
            found.append(_failed(name, "ssh", result))
        else:
            found += result
    local += _unreadable_lines()
    problems = [*preconditions.other_destinations(manifest, facts), *_twins(facts), *formation.errors]
    fleet = [Finding("fleet", "dynos", "failed", problem.summary, hint_of(problem)) for problem in problems]
    wanted = sum(type_.count for type_ in manifest.types.values())
    if not problems and reachable:
        message = f"{len(formation.homes)} of {quantity(wanted, 'dyno')} placed"
        full = len(formation.homes) == wanted
        hint = "the unreachable servers may have capacity for the rest"
        fleet = [Finding("fleet", "dynos", "ok" if full else "warning", message, "" if full else hint)]
    held = hold(merged_releases.merge(server.releases for server in facts.values()), source, manifest.digest)
    if held is not None:
        found = [replace(finding, hint=cure_while_held(finding.hint, held)) for finding in found]
        told = rollback_held(held)
        fleet.append(Finding("fleet", "rollback", "warning", told.what, told.cure[:1].lower() + told.cure[1:]))
    applying = lock_holder.holders(server.holder for server in facts.values())
    return Report((*local, *found, *fleet), tuple(name for name in results if name not in reachable), applying)


def _local(manifest: Manifest, registry: Registry, stack: Stack) -> tuple[list[Finding], Question | None, str | None]:
    """Check the local machine: the manifest, the app's source and the references. Returns the digest of the slug, too,
    None if the source cannot be read."""
    found, source = [Finding(LOCAL, "manifest", "ok", f"{manifest.file.name} is valid")], None
    try:
        slug = registry.slug(manifest, stack)
        source = slug.digest
        squashfs.find()
        built = f"slug to be built on {slug.builder}" if slug.made_by else f"slug {slug.digest[:12]}"
        found.append(Finding(LOCAL, "app", "ok", built))
    except DynoctlError as error:
        found.append(_failed(LOCAL, "app", error))
    question, stores = None, list[Finding]()
    try:
        resolver = resolver_of(manifest)
        environment = resolve_environment(manifest, resolver)
        resolve_credentials(manifest, resolver)
        resolve_tls(manifest)
        logins = resolve_artifacts(manifest, resolver)
        question = Question(manifest, stack.program)
        stores = artifact_checks.local(manifest, logins)
        found.append(Finding(LOCAL, "secrets", "ok", f"{len(environment)} config vars resolved"))
    except ManifestInvalid as error:
        found += [
            Finding(LOCAL, "secrets", "failed", problem.summary, hint_of(problem)) for problem in error.diagnostics
        ]
    except DynoctlError as error:
        found.append(_failed(LOCAL, "secrets", error))
    return [*found, *stores], question, source


def _ask(
    target: Target,
    observer: Observer,
    question: Question | None,
    artifacts: Artifacts,
    now: Callable[[], float],
    reader: Reader,
) -> Results | list[Finding]:
    """Check one server in one round trip; if that fails, the findings so far."""
    findings: list[Finding] = []
    try:
        session = Session(target)
    except DynoctlError as error:
        return [_failed(target.name, "ssh", error)]
    try:
        findings.append(Finding(target.name, "ssh", "ok", f"{session.user}@{target.host}, {session.host_key}"))
        fragments = {
            "checkup": server_checks.fragment(observer.scope.app, session.user),
            **observer.fragments,
            "processes": reader.observe(observer.scope),
            "later": server_checks.later(),
        }
        asking = artifact_checks.fragment(artifacts)
        if asking is not None:
            fragments[artifact_checks.CHECK] = asking
        sent = now()
        found = session.examine(fragments, question.command if question else None, TIMEOUT)
        back = now()
        findings.append(Finding(target.name, "root", "ok", "login as root" if session.user == "root" else "with sudo"))
        parts = found.sections
        if asking is not None:
            output = parts.get(artifact_checks.CHECK, (1, ""))[1]
            findings.append(artifact_checks.finding(target.name, artifacts, output))
        observed = observer.read(target.name, parts)
        with reading(target.name):
            return Results(
                findings,
                observed,
                server_checks.parse(parts["checkup"][1]),
                later=answer.decimal(parts["later"][1]),
                sent=sent,
                back=back,
                answers=question.read(target.name, *(found.answer or (1, ""))) if question else (),
                rows=reader.parse(observer.scope, target.name, parts["processes"][1]),
                unresolved=UNRESOLVED in found.warnings,
            )
    except DynoctlError as error:
        return [*findings, _failed(target.name, "system" if len(findings) > 1 else "root", error)]
    finally:
        session.close()


def _twins(facts: Mapping[str, Facts]) -> Iterator[Diagnostic]:
    machines: dict[str, str] = {}
    for name, server in facts.items():
        twin = machines.setdefault(server.machine_id, name)
        if twin != name:
            yield preconditions.twins(name, twin, server.machine_id)


def _failed(server: str, check: str, error: DynoctlError) -> Finding:
    return Finding(server, check, "failed", error.summary.removeprefix(f"{server}: "), error.hint)


def _unreadable_lines() -> Iterator[Finding]:
    """The lines of known_hosts files that were skipped, as OpenSSH does."""
    lines = known_hosts.skipped()
    if lines:
        where, why = lines[0]
        more = f", and {quantity(len(lines) - 1, 'more line')}" if len(lines) > 1 else ""
        yield Finding(
            LOCAL,
            "known_hosts",
            "warning",
            f"{where}: {why}: the line is skipped{more}",
            "correct or remove it; all of them: dynoctl plan -v",
        )
