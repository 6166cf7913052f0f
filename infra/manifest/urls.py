"""URLs of databases and caches: whether they fit their adapter, and where a password is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

SCHEMES = {
    "postgresql": ("postgresql", "postgres"),
    "redis": ("redis", "rediss"),
    "memcached": ("memcached", "memcache"),
}
_EXAMPLES = {
    "postgresql": "postgresql://user@host:5432/name",
    "redis": "redis://host:6379/0",
    "memcached": "memcached://host:11211",
}
_SEVERAL = ("postgresql", "memcached")
"""Adapters whose URLs may name several hosts, with commas between."""

_WORD = re.compile(r"\S+")
_PARAMETER = re.compile(
    r"[?&;][a-z_]{0,30}(?:password|passwd|secret|token|key|auth)[a-z_]{0,30}=(?P<secret>[^&;\s\"'#,}\]]+)",
    re.IGNORECASE,
)


class UrlError(ValueError):
    """A URL that does not fit its adapter. It never holds the URL; ``expected`` is an example."""

    def __init__(self, summary: str, expected: str) -> None:
        super().__init__(summary)
        self.summary = summary
        self.expected = expected


def credentials(text: str) -> Iterator[tuple[int, int]]:
    """Where ``text`` holds what is before a URL's host, or a parameter that sounds like a secret.

    A user's name that a password follows is not among it.
    """
    for start, end, _ in _userinfo(text):
        yield start, end
    for found in _PARAMETER.finditer(text):
        yield found.span("secret")


def has_password(text: str) -> bool:
    """Whether a URL with a password stands in ``text``."""
    return "://" in text and (any(colon for _, _, colon in _userinfo(text)) or _PARAMETER.search(text) is not None)


def _userinfo(text: str) -> Iterator[tuple[int, int, bool]]:
    """What is to be hidden before a host, and whether a colon (so: a password) is in it.

    It reaches to the last @ of the word: a password with an @ or a slash in it that nobody escaped is still a
    password. Plain searches, because the text may be hostile, and a pattern would go over it again and again.
    """
    for word in _WORD.finditer(text):
        start = text.find("://", word.start(), word.end())
        end = text.rfind("@", word.start(), word.end())
        if start < 0 or end < start + 3:
            continue
        start += 3
        colon = text.find(":", start, end)
        slash = text.find("/", start, end)
        if colon >= 0 and (slash < 0 or colon < slash):
            start = colon + 1
        if start < end:
            yield start, end, colon >= 0


def hosts(url: str, adapter: str) -> list[tuple[str, int | None]]:
    """The hosts and ports of a URL that fits its adapter. Raises UrlError where it does not."""
    example = _EXAMPLES[adapter]
    if not url.isprintable() or any(c.isspace() for c in url):
        # urlsplit would drop some of them without a word.
        raise UrlError("The URL holds a space or a control character", f"a URL like {example}")
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise UrlError("This is not a URL", f"a URL like {example}")
    if scheme not in SCHEMES[adapter]:
        raise UrlError(f"The URL's scheme does not fit the adapter {adapter}", f"a URL like {example}")
    try:
        netloc = urlsplit(url).netloc.rpartition("@")[2]
        parts = [urlsplit(f"//{each}") for each in (netloc.split(",") if adapter in _SEVERAL else [netloc])]
        found = [(each.hostname, each.port) for each in parts]
    except ValueError:
        raise UrlError("The URL cannot be taken apart", f"a URL like {example}") from None
    named = [(host, port) for host, port in found if host]
    if len(named) < len(found):
        raise UrlError("The URL names no host", f"a URL like {example}")
    if any(port == 0 for _, port in named):
        raise UrlError("The URL's port is 0", f"a URL like {example}")
    return named
