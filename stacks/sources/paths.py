"""Directories of a container or of a server as directories of the app."""

from __future__ import annotations

import re

_ROOTS = ("/rails/", "/app/", "/usr/src/app/", "/opt/render/project/src/", "/workspace/", "/var/www/app/")
_SYSTEM = re.compile(
    r"/(?:bin|boot|dev|etc|home|lib\w*|proc|root|run|sbin|sys|tmp|usr(?!/src/app/)|var/(?:run|lib|log|tmp|cache))(?:/|$)"
)
_DIRECTORY = re.compile(r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_@+.-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9_@+.-]+)*")


def in_app(path: str) -> tuple[str, bool]:
    """The path relative to the app, and whether it was inside of the app. "" if it is none that a volume can have.

    ``/rails/storage`` is ``storage``, and inside; ``/data`` becomes ``data``, and was outside."""
    if _SYSTEM.match(path):
        return "", False
    root = next((root for root in _ROOTS if path.startswith(root)), "")
    inner = path.removeprefix(root) if root else path.strip("/")
    inner = inner.strip("/")
    if len(inner) > 200 or not _DIRECTORY.fullmatch(inner):
        return "", False
    return inner, bool(root) or not path.startswith("/")


def volume_name(text: str) -> str:
    """A valid name for a volume: lowercase letters, digits and single dashes, at most 40 characters."""
    name = "-".join(re.findall(r"[a-z0-9]+", text.lower()))[:40].strip("-")
    return name if name and name[0].isalpha() else f"data-{name}".strip("-")
