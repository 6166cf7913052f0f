"""Deliver the slug: pushed to a store from which servers pull it, handed from server to server, or sent over SSH."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from infra.artifacts.source import Store, StoreError
from infra.artifacts.stores import store_of
from infra.engine import relaying
from infra.engine.context import Context
from infra.engine.pulling import pulled
from infra.errors import DynoctlError
from infra.model.events import HERE, Event, Failure
from infra.model.resource import Action, Change, Resource, Upload

INSTEAD = "dynoctl doctor tells what is missing; to send it over SSH instead, remove artifacts.fallback"


def deliver(context: Context) -> Context:
    """Do what is done once for all servers. If that fails, the slug is sent over SSH, unless the manifest forbids it:
    then nothing more is changed."""
    image, manifest = context.image, context.prepared.manifest
    needing = _needing(context)
    if image is None or not needing or context.shut:
        return context
    if manifest.artifacts.relay:
        relayed, unrelayed = relaying.relay(context, image, needing)
        return replace(context, relayed=relayed, unrelayed=unrelayed)
    store = store_of(manifest, context.scope.artifacts, lambda seconds: context.clock.wait(context.stop, seconds))
    if store is None:
        return context
    context.listener(Event("phase", text="push the slug", total=1))
    context.listener(Event("note", HERE, "slug", f"push {_size(image)} to {store.name}"))
    try:
        sent = store.push(image)
    except DynoctlError as error:
        if manifest.artifacts.fallback:
            context.ledger.sent_by_ssh(HERE, f"{error.summary}{f' ({error.hint})' if error.hint else ''}")
        else:
            context.ledger.refuse(Failure(HERE, "artifacts", f"cannot push the slug: {error.summary}", error.hint))
        return context
    context.listener(Event("done", HERE, "slug", "pushed" if sent else "in the store already"))
    return replace(context, store=store)


def send(context: Context, change: Change) -> None:
    """Bring the slug to a server if the change needs it there. Raises DynoctlError."""
    if not _brings(change) or context.image is None:
        return
    server, image = change.resource.server, context.image
    session = context.prepared.fleet.sessions[server]
    if server in context.relayed:
        return
    instead = context.unrelayed.get(server, "")
    if context.store is not None:
        why = _pulled(context, context.store, change.resource, image)
        if why is None:
            return
        instead = reason = f"it cannot be pulled from {context.store.name}: {why}"
        if not context.prepared.manifest.artifacts.fallback:
            raise DynoctlError(f"{server}: the slug is missing: {reason}", INSTEAD)
    context.listener(Event("upload", server, change.resource.key, f"send {_size(image)}"))
    session.upload(Path(image.local), image.path, image.sha256)
    if instead:
        context.ledger.sent_by_ssh(server, instead)


def _pulled(context: Context, store: Store, resource: Resource, image: Upload) -> str | None:
    """Let a server pull the slug; returns why it cannot. Raises Unreachable."""
    server = resource.server
    try:
        source = store.source(image)
    except StoreError as error:
        return error.summary
    network = relaying.network_of(server, context.prepared.fleet.found[server].facts.address)
    # Without a fallback, a server that is not asked would fail, and it may be the only one that gets an answer.
    spared = context.silence.why(network) if context.prepared.manifest.artifacts.fallback else ""
    if spared:
        return spared
    context.listener(Event("upload", server, resource.key, f"pull {_size(image)} from {store.name}"))
    failed = pulled(context, server, image, source)
    if failed is None:
        context.silence.pulled(network)
        return None
    if failed.silent:
        context.silence.failed(network, server, failed.why)
    return failed.why


def _needing(context: Context) -> list[str]:
    servers = [group.server for group in context.groups for change in group.changes if _brings(change)]
    return [server for server in dict.fromkeys(servers) if context.ledger.usable(server)]


def _brings(change: Change) -> bool:
    return change.action is Action.CREATE and change.resource.local is not None


def _size(image: Upload) -> str:
    return f"{image.size / 2**20:.1f} MiB"
