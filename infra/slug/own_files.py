"""The files of a source that are dynoctl's own: they say how the app runs, and are in no slug."""

from __future__ import annotations

import re

RESERVED = b".dynoctl"
"""The directory of dynoctl in every slug. The generated rackup file is bound over a file in it."""

_NAMES = (RESERVED, b"dyno.yaml", b".slugignore")
_OVERLAY = re.compile(rb"dyno\.[a-z0-9-]+\.yaml")


def is_own(path: bytes) -> bool:
    """Whether a path in the source is of such a file. Otherwise every edit of a manifest would change the slug."""
    return path.split(b"/")[0] in _NAMES or _OVERLAY.fullmatch(path) is not None
