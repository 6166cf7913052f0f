"""URLs of databases and caches: whether they fit their adapter, and whether a password is in them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

SCHEMES = {
    "postgresql": ("postgresql", "postgres"),
    "mysql": ("mysql2", "mysql", "mariadb", "trilogy"),
    "mariadb": ("mysql2", "mysql", "mariadb", "trilogy"),
    "redis": ("redis", "rediss", "unix"),
    "memcached": ("memcached", "memcache"),
}


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
        return Problem(f"a {adapter} URL cannot start with {parts.scheme or url.partition(':')[0][:20]!r}", example)
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


def has_password(url: str) -> bool:
    """True where the URL carries a password, or cannot be taken apart to tell."""
    if "://" not in url:
        return False
    parts = split(url)
    return parts is None or bool(parts.password)
