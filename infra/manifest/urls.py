"""URLs of databases and caches: check them against the adapter, and find passwords in them."""

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
"""Options of libpq, mysql2 and redis whose values are secret."""

_USER = re.compile(r"(?<=://)[^/@\s]*(?=@)|(?<=password=)[^&\s]*", re.IGNORECASE)

_KNOWN = frozenset(
    {*(scheme for schemes in SCHEMES.values() for scheme in schemes), "http", "https", "sqlite", "sqlite3"}
)


@dataclass(frozen=True)
class Problem:
    """Why a URL is invalid. It never contains the URL itself."""

    summary: str
    expected: str


def check_url(url: str, adapter: str) -> Problem | None:
    """The problem of the URL with this adapter, or None."""
    schemes = SCHEMES.get(adapter)
    if schemes is None:
        return None
    example = (
        f"{schemes[0]}://host/..." if adapter in ("postgresql", "mysql", "mariadb") else f"{schemes[0]}://host:port"
    )
    parts = split(url)
    if parts is None:
        return Problem("invalid URL", example)
    if parts.scheme not in schemes:
        # An unknown scheme is not shown: the text may be a secret and not a URL.
        found = f": found scheme {parts.scheme}" if parts.scheme in _KNOWN else ""
        return Problem(f"invalid {adapter} URL{found}", example)
    if not parts.hostname and parts.scheme != "unix":
        return Problem("missing host in URL", example)
    return None


def split(url: str) -> SplitResult | None:
    """The parts of a URL, or None if it is invalid (the port is not a number, a bracket is not closed)."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def is_secret(name: str) -> bool:
    """Whether an option or a key of this name has a secret value."""
    return name.lower() in SECRET


def masked(text: str, mask: str) -> str:
    """A text with the password of a URL replaced by ``mask``, or everything after ``://`` if it cannot be isolated."""
    if not has_password(text):
        return _USER.sub(mask, text)
    scheme, _, rest = text.partition("://")
    parts = split(text)
    inside = parts is None or any(is_secret(key) for key, _ in parse_qsl(parts.query, keep_blank_values=True))
    open_ = "" if inside and "?" in rest else rest.rpartition("@")[2] if "@" in rest else ""
    return f"{scheme}://{mask}@{open_}" if open_ else f"{scheme}://{mask}"


def is_certain(url: str) -> bool:
    """Whether a URL is known to contain no secret."""
    parts = split(url)
    return parts is not None and "://" in url and parts.scheme in _KNOWN and not has_password(url)


def has_password(url: str) -> bool:
    """Whether a URL contains a password, also in its query. True for a URL that cannot be parsed."""
    if "://" not in url:
        return False
    parts = split(url)
    if parts is None or parts.password or (parts.username and parts.scheme.startswith("redis")):
        return True  # a login without a colon is the password of Redis
    return any(is_secret(key) for key, _ in parse_qsl(parts.query, keep_blank_values=True))
