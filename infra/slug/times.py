"""Gives the files of a slug their times: an unchanged file keeps its time, and others get one that is later."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from infra.model.file_times import FileTimes
from infra.slug.tree import Entry, Kind


def assign(digest: str, entries: Sequence[Entry], before: FileTimes, now: int) -> FileTimes:
    """The times of the slug ``digest``. ``before`` are those of the slug that runs now, or of the same one, whose files
    are all unchanged; ``now`` is in seconds since 1970. A clock that is behind does not matter: the time of a changed
    file is always later than every time before."""
    later = max(now, before.newest + 1)
    return FileTimes(digest, {key: before.by_key.get(key, later) for _, key in keys(entries)})


def keys(entries: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    """Every entry with its key: of a file its path and content, of a directory its path and the names in it."""
    names: dict[bytes, list[bytes]] = {}
    for entry in entries:
        folder, _, name = entry.path.rpartition(b"/")
        names.setdefault(folder, []).append(name)
    for entry in entries:
        content = b"\0".join(sorted(names.get(entry.path, ()))) if entry.kind is Kind.DIRECTORY else entry.content
        whole = b"%s%d:%s,%s" % (entry.kind.value, len(entry.path), entry.path, content)
        yield entry, hashlib.sha256(whole).hexdigest()[:16]
