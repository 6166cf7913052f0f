"""Which paths of a source are in its slug."""

from __future__ import annotations

import os
from collections.abc import Callable

from infra.slug import credentials, ignore
from infra.slug.own_files import is_own
from infra.slug.tree import NEVER, Kind, Tree


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
    files = {os.fsdecode(entry.path) for entry in tree.entries if entry.kind is not Kind.DIRECTORY}
    above = {path[: at + 1] for path in files for at, letter in enumerate(path) if letter == "/"}
    left_out = excluded(tree)

    def holds(path: str) -> bool:
        return path in files or f"{path.rstrip('/')}/" in above or not left_out(os.fsencode(path.rstrip("/")))

    return holds
