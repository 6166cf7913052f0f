"""Where a manifest comes from: what tells two manifests with one app name apart, wherever they are checked out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from infra.model import paths

# The shell's read asks for each byte, which with a hundred apps takes longer than two processes.
SCRIPT = f"""\
set -- {paths.STATE}/*/{paths.ORIGIN}
if [ $# -gt 8 ]; then grep -sHm1 '' -- "$@" | sed 's/^\\([^:]*\\):/origin \\1 /'
else for file; do
  [ -r "$file" ] && {{ IFS= read -r text < "$file"; printf 'origin %s %s\\n' "$file" "$text"; }}
done; fi
"""
"""Shell code that prints the origin of each app of a server after ``origin`` and the file it is in."""

_SCP = re.compile(r"^(?:[^@/:]+@)?([^/:]+):(?!//)(.+)$")


@dataclass(frozen=True)
class Origin:
    """The origin of a manifest.

    ``repository`` is the URL of the git remote ``origin`` without scheme and login; ``root`` is the first commit if
    there is no such remote. ``path`` is the path of the manifest in the repository. ``host`` and ``file`` are where it
    was read: a computer and an absolute path. ``environment`` is the destination, or ``default``."""

    repository: str = ""
    root: str = ""
    path: str = ""
    host: str = ""
    file: str = ""
    environment: str = "default"

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def __str__(self) -> str:
        return f"{self.repository}: {self.path}" if self.repository else f"{self.host}:{self.file}"


def parse(value: object) -> Origin | None:
    """An origin from its JSON; None if it is invalid. Keys added by a newer dynoctl are ignored."""
    if not isinstance(value, Mapping):
        return None
    names = {field.name for field in fields(Origin)}
    texts: dict[str, Any] = {str(key): text for key, text in value.items() if key in names}
    valid = texts.get("file") and all(isinstance(text, str) for text in texts.values())
    return Origin(**texts) if valid else None


def same_repository(one: Origin, other: Origin) -> bool | None:
    """Whether two origins are in one repository; None if that is unknown."""
    for first, second in ((one.repository, other.repository), (one.root, other.root)):
        if first and second:
            return first == second
    return None


def same(one: Origin, other: Origin) -> bool:
    """Whether two origins are known to be one manifest."""
    if one.environment != other.environment:
        return False
    shared = same_repository(one, other)
    if shared is None:
        return (one.host, one.file) == (other.host, other.file)
    return shared and one.path == other.path


def repository(url: str) -> str:
    """A remote's URL without scheme, login, port and ``.git``, so that SSH and HTTPS addresses are equal."""
    if found := _SCP.match(url):
        host, path = found[1], found[2]
    else:
        parts = urlsplit(url)
        host, path = parts.hostname or "", parts.path
    path = path.strip("/").removesuffix(".git")
    return f"{host.lower()}/{path}" if host else url.removesuffix("/").removesuffix(".git")
