"""URLs of databases and caches: take apart only what every library reads in one way; find passwords in the others."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

SCHEMES = {
    "postgresql": ("postgresql", "postgres"),
    "mysql": ("mysql2", "mysql", "mariadb", "trilogy"),
    "mariadb": ("mysql2", "mysql", "mariadb", "trilogy"),
    "redis": ("redis", "rediss", "unix"),
    "memcached": ("memcached", "memcache"),
}


SECRET = frozenset(
    {
        *("password", "passwd", "pass", "pwd", "passphrase", "sslpassword", "secret", "token"),
        *("oauth_client_secret", "scram_client_key", "scram_server_key"),  # libpq 18
    }
)
"""Options of libpq, mysql2 and redis whose values are secret."""

SIGNATURES = frozenset(
    {
        *("x-amz-signature", "x-amz-security-token", "x-amz-credential", "awsaccesskeyid", "x-goog-signature"),
        *("x-goog-credential", "signature", "sig", "access_token", "api_key", "apikey", "private_token"),
    }
)
"""Options of a presigned URL, or of one with a key in it, whose values are secret."""

_USER = re.compile(r"(?<=://)[^/@\s]*(?=@)|(?<=password=)[^&\s]*", re.IGNORECASE)

_KNOWN = frozenset(
    {*(scheme for schemes in SCHEMES.values() for scheme in schemes), "http", "https", "sqlite", "sqlite3"}
)

# RFC 3986 without #: a database has no fragment, and libpq takes # for a part of the password.
_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-Fa-f]{2})*")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:([^/?@\[\]]*)@)?([^/?@]*)(?:/([^?@\[\]]*))?(?:\?([^@\[\]]*))?")
_HOST_NAME = r"(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})+"
_PORT = r"[1-9][0-9]{0,4}"
_HOST = re.compile(rf"(\[[0-9A-Fa-f:.]+\]|{_HOST_NAME}(?:,{_HOST_NAME})*|)(?::({_PORT}))?")

ENCODE = "each special character of a user name, a password and a database name percent-encoded"
ENCODE_HINT = (
    "write %23 for #, %2F for /, %3F for ?, %40 for @, %25 for %, %3A for :, %2B for +, %7B for {, %20 for a space; "
    "or use host, name, user and password in place of url"
)


@dataclass(frozen=True)
class Url:
    """The parts of a URL, decoded. ``port`` is None if the URL has none."""

    scheme: str
    host: str
    port: int | None = None
    user: str = ""
    password: str = ""
    path: str = ""
    """Without the slash at its start."""
    query: tuple[tuple[str, str], ...] = field(default=())

    @property
    def has_password(self) -> bool:
        """Whether a part of it is a secret. A login without a colon is the password of Redis."""
        secret = any(is_secret(name) for name, _ in self.query)
        return secret or bool(self.password or (self.user and self.scheme.startswith("redis")))


@dataclass(frozen=True)
class Problem:
    """Why a URL is invalid. It never contains the URL itself."""

    summary: str
    expected: str
    hint: str = ""


def check_url(url: str, adapter: str) -> Problem | None:
    """The problem of the URL with this adapter, or None."""
    schemes = SCHEMES.get(adapter)
    if schemes is None:
        return None
    example = (
        f"{schemes[0]}://host/..." if adapter in ("postgresql", "mysql", "mariadb") else f"{schemes[0]}://host:port"
    )
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in schemes:
        # An unknown scheme is not shown: the text may be a secret and not a URL.
        found = f": found scheme {scheme}" if scheme in _KNOWN else ""
        return Problem(f"invalid {adapter} URL{found}", example)
    parts = parse(url)
    if parts is None:
        return _why(url, adapter, example)
    if not parts.host and parts.scheme != "unix":
        return Problem("missing host in URL", example)
    return None


def _why(url: str, adapter: str, example: str) -> Problem:
    rest = url.partition("://")[2]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    port = re.search(r":([0-9]*)$", authority)
    if "@" in rest or not _CHARACTERS.fullmatch(rest) or "%" in rest or "+" in rest:
        return Problem(f"invalid {adapter} URL: it is not percent-encoded", ENCODE, ENCODE_HINT)
    if adapter == "memcached" and "," in authority:
        hint = 'with one port for all: host: "10.0.0.20,10.0.0.21", port: 11211; else env: MEMCACHE_SERVERS'
        return Problem(f"invalid {adapter} URL: several servers with ports", example, f"in place of url, {hint}")
    if port is not None:
        return Problem(f"invalid {adapter} URL: the port is not 1 to 65535", example)
    return Problem(f"invalid {adapter} URL", example)


def parse(url: str) -> Url | None:
    """The parts of a URL if Ruby's URI, libpq and the clients of Redis all read the same ones; else None.

    They differ on characters that are not percent-encoded: where a password ends, and what % and + mean."""
    found = _URL.fullmatch(url) if _CHARACTERS.fullmatch(url) else None
    if found is None:
        return None
    scheme, login, authority, path, query = (found[number] for number in range(1, 6))
    host = _HOST.fullmatch(authority)
    if host is None or "+" in (login or "") or "+" in (query or "") or scheme != scheme.lower():
        return None
    port = None if host[2] is None else int(host[2])
    user, _, password = (login or "").partition(":")
    pairs = [pair.partition("=")[::2] for pair in (query or "").split("&") if pair]
    texts = [_decoded(text) for text in (host[1].strip("[]"), user, password, path or "")]
    options = [(_decoded(name), _decoded(value)) for name, value in pairs]
    if None in texts or any(None in option for option in options) or (port is not None and not 0 < port < 65536):
        return None
    name, user, password, path = (str(text) for text in texts)
    pairs = [(str(key), str(value)) for key, value in options]
    return Url(scheme, name, port, user, password, path, query=tuple(pairs))


def _decoded(text: str) -> str | None:
    """The decoded text; None if it is not UTF-8 or contains a NUL, which no library accepts."""
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in decoded else decoded


def is_secret(name: str) -> bool:
    """Whether an option or a key of this name has a secret value."""
    return name.lower() in SECRET


def masked(text: str, mask: str) -> str:
    """A text with the password of a URL replaced by ``mask``, or everything after ``://`` if it cannot be isolated."""
    if not has_password(text):
        return _USER.sub(mask, text)
    scheme, _, rest = text.partition("://")
    parts = parse(text)
    if parts is None or any(is_secret(name) for name, _ in parts.query) or "@" not in rest:
        return f"{scheme}://{mask}" if scheme in _KNOWN else mask
    return f"{scheme}://{mask}@{rest.rpartition('@')[2]}"


def is_certain(url: str) -> bool:
    """Whether a URL is known to contain no secret. A query of HTTP may be a signature."""
    parts = parse(url)
    asks = parts is not None and parts.scheme.startswith("http") and bool(parts.query)
    return parts is not None and parts.scheme in _KNOWN and not parts.has_password and not asks


def has_password(url: str) -> bool:
    """Whether a URL contains a password, also in its query. True for a URL with a login that cannot be taken apart."""
    if "://" not in url:
        return False
    parts = parse(url)
    if parts is not None:
        return parts.has_password
    options = re.split(r"[?&;]", url.lower())[1:]
    return "@" in url or "%40" in url or any(option.partition("=")[0] in SECRET for option in options)
