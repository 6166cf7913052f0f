"""Secrets that stand where something else belongs: a password behind the user of a login, the content of a file in
place of its path, one word in place of the settings of a database, a router or a store."""

from __future__ import annotations

import re

from infra.manifest import known_keys
from infra.manifest.document import Path

_LOGINS = ("ssh", "servers", "server_defaults", "groups")
"""Sections with the user of a login, behind which people write its password, as in ``ann:one``."""

_SETTINGS = ("database", "databases", "cache", "caches", "router", "artifacts")
"""Sections whose settings may be secret."""

_FILES = ("key", "known_hosts")
"""Keys of ``ssh`` with the path of a file."""

_FILE = re.compile(
    r"(~|\.\.?|\$HOME)?/.{0,200}|[a-z0-9._-]{1,40}(/[a-z0-9._-]{1,40})+|(.{0,40}/)?(id_[a-z0-9_.-]{1,40}|known_hosts\w*)"
    r"|[\w./-]{1,100}\.(pem|key|pub|ppk)"
)
"""A text that is certainly the path of a file, and so can be shown."""


def is_replaced(path: Path, value: object) -> bool:
    """Whether the value at a path is likely such a secret."""
    if isinstance(value, bool) or value in (None, "") or not isinstance(value, str | int | float) or not path:
        return False
    if _is_login(path):
        return ":" in str(value)
    if _is_file(path):
        return _FILE.fullmatch(str(value)) is None
    return _has_settings(path) and value not in known_keys.choices()


def may_be_replaced(path: Path) -> bool:
    """Whether such a secret may be at a path."""
    return bool(path) and (_is_login(path) or _is_file(path) or _has_settings(path))


def is_password(path: Path) -> bool:
    """Whether the key at a path, inside the user of a login, has its password, as in ``{ann:one: }``."""
    return len(path) > 1 and _is_login(path[:-1]) and ":" in str(path[-1])


def _is_login(path: Path) -> bool:
    meant = known_keys.meant(path)
    return meant[-1] == "user" and (len(meant) == 1 or meant[0] in _LOGINS)


def _is_file(path: Path) -> bool:
    meant = known_keys.meant(path)
    return meant[-1] in _FILES and (len(meant) == 1 or (meant[0] == "ssh" and len(meant) == 2))


def _has_settings(path: Path) -> bool:
    """Whether settings belong at a path, perhaps one that has lost its indentation."""
    lost = len(path) == 1 and path[0] in ("http", "oci", "tls")
    return lost or (path[0] in _SETTINGS and known_keys.is_mapping(path, ("object",)))
