"""Reads the times of files on servers, so that an unchanged file of a new slug keeps its time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from infra.engine.context import Context
from infra.errors import DynoctlError
from infra.model import file_times, merged_releases, release
from infra.model.file_times import NO_TIMES, FileTimes


def of(context: Context, digest: str) -> FileTimes:
    """The times that the files of the slug ``digest`` are compared with: those of the same slug, if a server has it, so
    that they are the same on all; otherwise those of the slug that runs now. Without either, all files are new.

    The times of the same slug may be unknown: an older dynoctl gave it none, or no server has it mounted."""
    now = release.current(merged_releases.merge(seen.facts.releases for seen in context.recorder.found.values()))
    for wanted in dict.fromkeys([digest, *([now.slug] if now is not None else ())]):
        for server in _holders(context, wanted):
            if (found := _read(context, server, wanted)).by_key:
                return found
    return FileTimes(digest) if _holders(context, digest) else NO_TIMES


def _holders(context: Context, digest: str) -> list[str]:
    """The usable servers that have a slug."""
    keys = context.prepared.registry.slug_keys(context.app, [digest])
    found, sessions = context.recorder.found, context.prepared.fleet.sessions
    return [
        server
        for server in sorted(found)
        if keys & found[server].resources.keys() and server in sessions and context.ledger.usable(server)
    ]


def _read(context: Context, server: str, digest: str) -> FileTimes:
    """The table of a slug on a server; without times if it has none, as that of an older dynoctl, or is not mounted."""
    with tempfile.TemporaryDirectory(prefix="dynoctl-times-") as directory:
        local = Path(directory) / "times"
        try:
            path = file_times.path(context.app, digest)
            context.prepared.fleet.sessions[server].download(path, local, file_times.LARGEST)
            return file_times.parse(digest, local.read_bytes(), int(time.time()))
        except (DynoctlError, OSError):
            return NO_TIMES
