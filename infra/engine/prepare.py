"""Observe the fleet, and prepare everything that a plan and its apply need."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from infra.engine import builder as builders
from infra.engine import lost_servers, other_manifests, package_upgrades, plan_options
from infra.engine.planning import plan
from infra.engine.prepared import Inputs, Prepared, Request, StalePlan
from infra.errors import DynoctlError, ManifestInvalid
from infra.fleet.facts import Facts, newest_meta
from infra.fleet.identity import identify
from infra.fleet.inventory import spare_targets, targets
from infra.fleet.observe import Fleet, Observer, observe
from infra.manifest.model import Manifest
from infra.manifest.references import (
    Resolver,
    resolve_artifacts,
    resolve_credentials,
    resolve_environment,
    resolve_tls,
    resolver_of,
)
from infra.manifest.untrusted import NoResolver
from infra.model import release
from infra.model.merged_releases import merge
from infra.model.provider import Scope
from infra.model.release import Release
from infra.model.resource import Command, Upload
from infra.model.shell import Connect, Session
from infra.model.slug_digest import same_source
from infra.model.stack import Registry, Slug, Stack, TimesBefore
from infra.model.target import Target
from infra.model.volume import with_sizes
from infra.plan.delivery import words as delivery_words
from infra.plan.overview import overview
from infra.remote import session as ssh
from infra.remote.parallel import each, meanwhile
from infra.sensitive import Sensitive
from infra.slug.commit import changed_since, commit_of
from infra.slug.image import sha256_of
from infra.state.release_body import Stored, pack
from infra.state.vouching import ENOUGH

Progress = Callable[[str], None]

DEFAULT_REQUEST = Request()

IMAGE_TIMEOUT = 600
"""Seconds for the digest of a slug's image, on a slow disk."""


def prepare(
    manifest: Manifest,
    registry: Registry,
    request: Request = DEFAULT_REQUEST,
    *,
    connect: Connect = ssh.Session,
    sessions: Mapping[str, Session] | None = None,
    progress: Progress = lambda _: None,
) -> Prepared:
    """Observe the servers and compute the plan. Servers that fail are listed in it as unreachable.

    ``sessions`` are already open and used instead of new ones. Raises DynoctlError if a server to be forgotten or
    evacuated is reachable, or if the selection matches nothing, and StalePlan if the request is out of date."""
    destroy, stored = request.destroy, request.stored
    stack = registry.stack(manifest) if stored is None else _again(stored, registry.stack(manifest))
    resolver = NoResolver() if request.untrusted else resolver_of(manifest)
    environment, credentials = ({}, {}) if destroy else _secrets(manifest, stored, resolver)
    scope = Scope(
        app=manifest.app.name,
        salt=secrets.token_hex(16),
        environments={} if destroy else dict.fromkeys(manifest.types, environment),
        credentials=credentials,
        packages=() if destroy else stack.packages,
        router="" if destroy else registry.router(manifest),
        builder=manifest.builder or "",
        build_packages=() if destroy or stored else registry.build_packages(manifest),
        tls={} if destroy else resolve_tls(manifest, resolver),
        artifacts={} if destroy else _logins(manifest, stored, resolver),
    )
    observer = Observer(registry.providers, scope, stack.program, stack.executables)
    fleet = Fleet()
    try:
        reading = _Reading(progress)
        with meanwhile(lambda: None if destroy or stored else registry.slug(manifest, stack, reading.say)) as scanned:
            observe(targets(manifest), observer, fleet, connect, sessions, progress=progress)
            _refuse_newer(request, fleet, sessions or {})
            lost_servers.refuse_evacuation(request, manifest, fleet)
            reading.wait()
            slug = scanned()
            releases = merge(observed.facts.releases for observed in fleet.found.values())
            if slug is not None:
                slug = builders.slug_of(slug, _builder(manifest, request, fleet), releases)
        if stored is not None:
            slug = _slug_of(stored, manifest, registry, fleet, request.trust)
        departed = lost_servers.look(manifest, request, fleet, observer, connect, progress)
        leaving = {**departed.leaving, **_spares(manifest, request, observer, fleet, connect)}
        facts = {name: observed.facts for name, observed in fleet.found.items()}
        other = [] if request.take_over else other_manifests.taken_over(manifest.app.name, request.origin, facts)
        advice = [] if destroy or stored else [f"{one.summary}: {one.hint}" for one in stack.warnings]
        advice += [] if slug is None else [*builders.notes(slug, releases), *_large(slug, releases)]
        inputs = Inputs(
            manifest=manifest,
            registry=registry,
            request=request,
            scope=scope,
            observer=observer,
            stack=stack,
            slug=slug,
            fleet=fleet,
            leaving=tuple(target.name for target in leaving.values()),
            forgotten=departed.forgotten,
            problems=(*departed.problems, *other),
            remarks=(*other_manifests.renamed(manifest.app.name, request.origin, facts, request.hint), *advice),
            unseen=departed.remarks,
            body="" if slug is None else pack(stack, slug.digest, environment, credentials),
        )
        made = plan(inputs)
        if blocking := package_upgrades.look(inputs, made):
            inputs = replace(inputs, blocking=blocking)
            made = plan(inputs)
        servers = overview(manifest, made.formation, {name: observed.facts for name, observed in fleet.found.items()})
        made = replace(made, options=plan_options.words(request, manifest.destination), fleet=servers)
        made = replace(made, delivery=delivery_words(manifest, made.changes))
        was = made.running
        if made.fresh and stored is None and slug is not None:
            made = replace(made, commit=commit_of(manifest.app.source, slug.holds))
            if was is not None and not same_source(slug.digest, was.slug):
                made = replace(made, source=changed_since(manifest.app.source, was.commit, slug.holds))
        return Prepared(**vars(inputs), plan=made)
    except BaseException:
        fleet.close()
        raise


class _Reading:
    """What is said of the source while it is read: nothing before the servers were asked, which is said until then."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._words, self._waits = progress, "", False

    def say(self, words: str) -> None:
        """Take what there is to say."""
        self._words = words
        if self._waits:
            self._progress(words)

    def wait(self) -> None:
        """From here on, only this is waited for."""
        self._waits = True
        if self._words:
            self._progress(self._words)


def _large(slug: Slug, releases: Sequence[Release]) -> list[str]:
    """That a slug is unusually large, unless it runs already."""
    was = release.current(releases)
    return [slug.large] if slug.large and (was is None or not same_source(was.slug, slug.digest)) else []


def _builder(manifest: Manifest, request: Request, fleet: Fleet) -> Facts | None:
    """What is known of the builder; None if nothing is. The login of an untrusted plan cannot run Ruby there."""
    observed = None if request.untrusted else fleet.found.get(manifest.builder or "")
    return None if observed is None else observed.facts


def _refuse_newer(request: Request, fleet: Fleet, asked: Container[str]) -> None:
    """Raise StalePlan if another apply ended after servers were asked for the settings in force, which it changed."""
    newest = newest_meta(observed.facts for name, observed in fleet.found.items() if name in asked)
    if request.as_of is not None and newest and newest.get("serial") != request.as_of:
        raise StalePlan("stale settings: another apply has changed them meanwhile; nothing was applied", "run it again")


def _spares(
    manifest: Manifest, request: Request, observer: Observer, fleet: Fleet, connect: Connect
) -> dict[str, Target]:
    """Add servers to ``fleet`` that left the manifest and have nothing but records. They run nothing, so one that is
    unreachable, is another machine by now, or has records of another environment or of a newer format is ignored."""
    facts = {name: observed.facts for name, observed in fleet.found.items()}
    hint = request.hint.get(manifest.app.name, {})
    known, spares = identify(manifest, facts), spare_targets(manifest, facts, hint, request.trust)
    # A server of the manifest that is unreachable may be one of them, with a wrong address.
    spares = {machine: target for machine, target in spares.items() if not known.may_be_of(machine)}

    def look(machine: str) -> Fleet:
        reached = Fleet()
        try:
            observe([spares[machine]], observer, reached, connect)
        except BaseException:
            reached.close()
            raise
        return reached

    taken = {}
    for machine, reached in each(look, spares).items():
        if isinstance(reached, DynoctlError):  # its records are of a newer format
            continue
        target = spares[machine]
        observed = reached.found.get(target.name)
        meta = {} if observed is None else observed.facts.meta
        ours = not meta or str(meta.get("environment", "default")) == manifest.environment
        empty = observed is None or not (meta or observed.facts.salt)  # an interrupted apply may leave only a salt
        if observed is None or empty or not ours or observed.facts.machine_id != machine:
            reached.close()
            continue
        fleet.sessions[target.name], fleet.found[target.name] = reached.sessions[target.name], observed
        taken[machine] = target
    return taken


def _secrets(
    manifest: Manifest, stored: Stored | None, resolver: Resolver
) -> tuple[Mapping[str, str | Sensitive], Mapping[str, Sensitive]]:
    """The config vars and the credentials of every dyno: resolved now, or those of a stored release."""
    if stored is not None:
        return stored.environment, stored.credentials
    # One resolver for both, so that each command of a reference runs once.
    return resolve_environment(manifest, resolver), resolve_credentials(manifest, resolver)


def _logins(manifest: Manifest, stored: Stored | None, resolver: Resolver) -> Mapping[str, str | Sensitive]:
    """What logs in to the store of slugs. What goes back to a stored release needs no secret of this computer: its slug
    is mostly on the servers already, and otherwise sent as if the store refused the login."""
    try:
        return resolve_artifacts(manifest, resolver)
    except ManifestInvalid:
        if stored is None:
            raise
        return {}


def _again(stored: Stored, now: Stack) -> Stack:
    """The stack of a stored release; process types that it did not have run the command of the current manifest."""
    volumes = with_sizes(stored.stack.volumes, {volume.name: volume.size for volume in now.volumes})
    return replace(stored.stack, commands={**now.commands, **stored.stack.commands}, volumes=volumes)


def _slug_of(
    stored: Stored, manifest: Manifest, registry: Registry, fleet: Fleet, trust: frozenset[str] = frozenset()
) -> Slug:
    """The slug of a stored release. Its image is fetched only if this computer does not have it, and a server needs it;
    then two servers must have the same one, or the user trusts one of them: root there could have replaced it."""
    app = manifest.app.name
    (key,) = registry.slug_keys(app, [stored.slug])
    copies = {name: observed.resources.get(key) for name, observed in fleet.found.items()}
    holders = [name for name, copy in copies.items() if copy is not None and not copy.damaged]

    def download(path: str, local: Path) -> None:
        cannot = f"cannot roll back to v{stored.number}"
        instead = "check out the commit of the release, then: dynoctl apply"
        if not holders:
            raise DynoctlError(f"{cannot}: its slug is neither on a server nor on the local machine", instead)
        images: dict[str, list[str]] = {}
        for name in holders:
            with suppress(DynoctlError):
                status, text = fleet.sessions[name].execute(Command(("sha256sum", path), timeout=IMAGE_TIMEOUT))
                images.setdefault(text.partition(" ")[0] if status == 0 else "", []).append(name)
        images.pop("", None)
        agreed = {
            digest: names for digest, names in images.items() if len(names) >= ENOUGH or trust.intersection(names)
        }
        if not agreed:
            alone = ", ".join(holders)
            raise DynoctlError(
                f"{cannot}: its slug is on {alone}, no two servers have the same image, and root on one of them could "
                "have replaced it",
                f"{instead}; or if {holders[0]} is right: --trust {holders[0]}",
            )
        digest, names = max(agreed.items(), key=lambda item: (bool(trust.intersection(item[1])), len(item[1])))
        for name in names:
            with suppress(DynoctlError):
                fleet.sessions[name].download(path, local)
                if sha256_of(local) == digest:
                    return
        raise DynoctlError(f"{cannot}: its slug cannot be read from {', '.join(names)}", instead)

    remote = registry.stored(app, stored.slug, download)

    def image(session: Session | None, say: Callable[[str], None], before: TimesBefore) -> Upload:
        try:
            return remote.image(session, say, before)
        except DynoctlError:
            with suppress(DynoctlError):
                own = registry.slug(manifest, registry.stack(manifest))
                own = builders.slug_of(own, _builder(manifest, DEFAULT_REQUEST, fleet), ())
                if own.digest == stored.slug:  # the source here is that of the release
                    return own.image(session, say, before)
            raise

    return replace(remote, image=image)
