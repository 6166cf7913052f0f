"""How the slug gets to the servers, in the words of a plan."""

from __future__ import annotations

from collections.abc import Sequence

from infra.manifest.model import Manifest
from infra.model.resource import Action, Change
from infra.model.text import quantity


def words(manifest: Manifest, changes: Sequence[Change]) -> str:
    """What follows ``The slug is``, such as ``pushed once to registry.example.org/team/shop, pulled by 32 servers``.
    "" if no server needs it, or if it is sent over SSH to each."""
    needing = {
        change.resource.server
        for change in changes
        if change.action is Action.CREATE and change.resource.local is not None
    }
    artifacts, servers = manifest.artifacts, quantity(len(needing), "server")
    if not needing or (artifacts.kind == "ssh" and not artifacts.relay):
        return ""
    if artifacts.relay:
        return f"sent once to each network, handed on between {servers}" if len(needing) > 1 else ""
    over = ", or sent over SSH to servers that cannot pull it" if artifacts.fallback else ""
    return f"pushed once to {artifacts.store}, pulled by {servers}{over}"
