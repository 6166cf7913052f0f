"""Let a server pull the slug with its own curl."""

from __future__ import annotations

from dataclasses import dataclass

from infra.artifacts import pull
from infra.artifacts.source import Source
from infra.engine.context import Context
from infra.model.resource import Upload

TIMED_OUT = (124, 137)
"""The exit statuses of timeout(1) for what it ended."""


@dataclass(frozen=True)
class Unpulled:
    """Why a server could not pull. ``silent``: it waited for the store in vain."""

    why: str
    silent: bool


def pulled(context: Context, server: str, image: Upload, source: Source) -> Unpulled | None:
    """Let a server pull the slug from ``source``; returns why it cannot, None if it has it. Raises Unreachable."""
    bandwidth = context.prepared.manifest.artifacts.bandwidth
    command = pull.command(image, source, context.app, bandwidth)
    status, output = context.prepared.fleet.sessions[server].execute(command)
    if status == 0:
        return None
    if status in TIMED_OUT:
        return Unpulled(f"timed out after {command.timeout} s", silent=True)
    return Unpulled(pull.reason(output), pull.silent(output))
