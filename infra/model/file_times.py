"""The times of the files of a slug, as the slug itself remembers them for the next one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.model import paths

FILE = ".dynoctl/times"
"""The path of the table in a slug."""

LARGEST = 32 << 20
"""Bytes of a table that are read: enough for a million files."""

AHEAD = 24 * 3600
"""Seconds by which the clock of whoever built a slug may be ahead of this one."""

_HEAD = b"dynoctl times 1\n"
_LINE = re.compile(rb"([0-9]{1,12}) ([0-9a-f]{16})")


@dataclass(frozen=True)
class FileTimes:
    """The times of the entries of the slug ``digest``, in seconds since 1970, by the key of an entry, which depends on
    its path and its content. Without a slug, it has none."""

    digest: str = ""
    by_key: Mapping[str, int] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        """The time of the entry that changed last."""
        return max(self.by_key.values(), default=0)


NO_TIMES = FileTimes()
"""Those of nothing: all files are new."""


def path(app: str, digest: str) -> str:
    """The path of the table of a slug on a server that has it mounted."""
    return f"{paths.mount(app, digest)}/{FILE}"


def render(times: FileTimes) -> bytes:
    """The table as text: a line for each entry. The digest is not in it, as a slug does not contain its own name."""
    return _HEAD + b"".join(b"%d %s\n" % (at, key.encode()) for key, at in sorted(times.by_key.items()))


def parse(digest: str, data: bytes, now: int) -> FileTimes:
    """The table of a slug, as a server sent it. Times in the future of ``now`` are left out, because a browser would
    keep such a file until then. An unknown format has none."""
    if not data.startswith(_HEAD):
        return NO_TIMES
    found = {}
    for line in data[len(_HEAD) : LARGEST].split(b"\n"):
        match = _LINE.fullmatch(line)
        if match is not None and 0 < int(match[1]) <= now + AHEAD:
            found[match[2].decode()] = int(match[1])
    return FileTimes(digest, found)
