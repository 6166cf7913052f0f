"""Which scalars of a manifest may never be shown: they are secrets, or may be."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from infra.manifest.source import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TELLING = re.compile(r"secret|passw|token|credential|private|api_?key", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_KEY = re.compile(r"[\w.-]{0,40}")
CUT = "..."


def is_secret(path: Path, text: str) -> bool:
    """Whether the scalar ``text`` at ``path`` must not be shown.

    Everything under env, under unknown keys (a line of env that lost its indentation) and under telling names;
    a URL of which nobody can tell where its password is. Not the names of variables, files and programs.
    """
    match path:
        case ("env" | "database" | "cache", *_, "from_env"):
            # Somebody may have put the secret itself where its name belongs.
            return not _NAME.fullmatch(text)
        case ("env" | "database" | "cache", *_, "from_file") | ("env", *_, "from_command", 0):
            return False
        case ("database" | "cache",) | ("database" | "cache", "url"):
            return _opaque(text)
        case ("database" | "cache", "adapter"):
            return False
        case ("env" | "database" | "cache", *_):
            return True
    if path and not is_parked(path) and path[0] not in _known():
        return True
    return any(isinstance(step, str) and _TELLING.search(step) for step in path)


def is_parked(path: Path) -> bool:
    """Whether ``path`` is under x-*: what stands there is what the alias makes of it elsewhere."""
    return bool(path) and isinstance(path[0], str) and path[0].startswith("x-")


def shown_part(key: str) -> int:
    """How many characters of a key can be shown: ``url:redis://:secret@host`` is one where a space was forgotten."""
    found = _KEY.match(key)
    return found.end() if found is not None else 0


def shown_key(key: str) -> str:
    """A key as far as it can be shown."""
    end = shown_part(key)
    return key if end == len(key) else key[:end] + CUT


def _opaque(url: str) -> bool:
    try:
        port = urlsplit(url).port
    except ValueError:
        return True
    return port == 0 or not _SCHEME.match(url) or any(c.isspace() for c in url)


def _known() -> frozenset[str]:
    from schemas import load

    return frozenset(load("dyno.schema.json")["properties"])
