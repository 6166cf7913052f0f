"""Which paths of a source are in its slug."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import cache

from infra.model.text import size
from infra.slug import credentials, ignore
from infra.slug.own_files import is_own
from infra.slug.tree import IGNORE_FILE, NEVER, Kind, Tree

LARGE = 500 << 20
"""Bytes of files that are unusual for an app: Heroku's limit of a slug, which is compressed."""

_MOST = 0.8
"""The part of a directory from which on one of its files or directories is named instead of it."""

_NAMED = 3
"""Paths that are named, if each has at least a twentieth of ``LARGE``."""


def large(tree: Tree) -> str:
    """The size of a source and its largest paths, if it is unusual; "" if not."""
    if tree.size < LARGE:
        return ""
    sizes: Counter[bytes] = Counter()
    below: dict[bytes, set[bytes]] = {}
    for entry in tree.entries:
        path = entry.path
        while path and entry.size:
            sizes[path] += entry.size
            below.setdefault(path.rpartition(b"/")[0], set()).add(path)
            path = path.rpartition(b"/")[0]

    def narrowed(path: bytes) -> bytes:
        while (most := max(below.get(path, ()), key=sizes.__getitem__, default=b"")) and sizes[most] >= _MOST * sizes[
            path
        ]:
            path = most
        return path

    found = sorted(map(narrowed, below[b""]), key=lambda path: (-sizes[path], path))[:_NAMED]
    words = [
        f"{os.fsdecode(path)}{'/' * (path in below)} ({size(sizes[path])})"
        for path in found
        if 20 * sizes[path] >= LARGE
    ]
    return (
        f"the files of the app are {size(tree.size)}, and each server gets them all: {', '.join(words)}; "
        f"what the app does not need, add to {IGNORE_FILE}"
    )


def excluded(tree: Tree) -> Callable[[bytes], bool]:
    """A function that tells whether a file would not be in the slug if the source had it, or has it and it is not."""
    rules, named = ignore.parse(b"\n".join(tree.patterns)), credentials.naming(tree.patterns)

    def left_out(path: bytes) -> bool:
        parts = path.split(b"/")
        if is_own(path) or any(part in NEVER for part in parts):
            return True
        for depth in range(1, len(parts) + 1):
            part, is_directory = b"/".join(parts[:depth]), depth < len(parts)
            if ignore.ignored(rules, part, is_directory):
                return True
            if credentials.is_credential(part, is_directory) and not credentials.is_named(named, part, is_directory):
                return True
        return os.path.lexists(os.fsencode(tree.source) + b"/" + path)

    return left_out


def holding(tree: Tree) -> Callable[[str], bool]:
    """A function that tells whether a path is in the slug, or would be if the source still had it. A directory is if a
    file below it is."""
    left_out = excluded(tree)

    @cache  # most plans ask of no path, and an app may have 100,000
    def there() -> tuple[set[str], set[str]]:
        files = {os.fsdecode(entry.path) for entry in tree.entries if entry.kind is not Kind.DIRECTORY}
        return files, {path[: at + 1] for path in files for at, letter in enumerate(path) if letter == "/"}

    def holds(path: str) -> bool:
        files, above = there()
        return path in files or f"{path.rstrip('/')}/" in above or not left_out(os.fsencode(path.rstrip("/")))

    return holds
