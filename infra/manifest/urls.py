"""URLs of databases and caches: whether they fit their adapter, and whether a password is in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

SCHEMES = {
    "postgresql": ("postgresql", "postgres"),
    "mysql": ("mysql2", "mysql", "mariadb", "trilogy"),
    "mariadb": ("mysql2", "mysql", "mariadb", "trilogy"),
    "redis": ("redis", "rediss", "unix"),
    "memcached": ("memcached", "memcache"),
}


SECRET = frozenset({"password", "passwd", "pwd", "sslpassword", "secret", "token"})
"""Options of libpq, mysql2 and redis that hold a secret."""

_USER = re.compile(r"(?<=://)[^/@\s]*(?=@)|(?<=password=)[^&\s]*", re.IGNORECASE)

_KNOWN = frozenset({*(one for schemes in SCHEMES.values() for one in schemes), "http", "https", "sqlite", "sqlite3"})


@dataclass(frozen=True)
class Problem:
    """What is wrong with a URL; the URL itself is never in it."""

    summary: str
    expected: str


def check_url(url: str, adapter: str) -> Problem | None:
    """None where the URL fits its adapter."""
    schemes = SCHEMES.get(adapter)
    if schemes is None:
        return None
    example = (
        f"{schemes[0]}://host/..." if adapter in ("postgresql", "mysql", "mariadb") else f"{schemes[0]}://host:port"
    )
    parts = split(url)
    if parts is None:
        return Problem("this is not a URL", example)
    if parts.scheme not in schemes:
        # What stands there may be a secret that is no URL at all, so it is only shown where it is surely none.
        known = parts.scheme in _KNOWN
        return Problem(f"this is no {adapter} URL" + (f", but one of {parts.scheme}" if known else ""), example)
    if not parts.hostname and parts.scheme != "unix":
        return Problem("the URL names no host", example)
    return None


def split(url: str) -> SplitResult | None:
    """The parts of a URL, or None where it has none (a port that is no number, an open bracket)."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def is_secret(name: str) -> bool:
    """Whether an option or a key of this name holds a secret."""
    return name.lower() in SECRET


def masked(text: str, mask: str) -> str:
    """A text with the password of a URL in it replaced; all behind ``://`` where it cannot be told from the rest."""
    if not has_password(text):
        return _USER.sub(mask, text)
    scheme, _, rest = text.partition("://")
    parts = split(text)
    inside = parts is None or any(is_secret(key) for key, _ in parse_qsl(parts.query, keep_blank_values=True))
    open_ = "" if inside and "?" in rest else rest.rpartition("@")[2] if "@" in rest else ""
    return f"{scheme}://{mask}@{open_}" if open_ else f"{scheme}://{mask}"


def has_password(url: str) -> bool:
    """True where the URL carries a password, also after its question mark, or cannot be taken apart to tell."""
    if "://" not in url:
        return False
    parts = split(url)
    if parts is None or parts.password or (parts.username and parts.scheme.startswith("redis")):
        return True  # what Redis is given alone is its password
    return any(is_secret(key) for key, _ in parse_qsl(parts.query, keep_blank_values=True))
