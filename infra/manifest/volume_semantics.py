"""Checks of volumes and writable directories that a schema cannot express: distinct names, disjoint paths, existing
process types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document
from infra.manifest.schedule_semantics import entries


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every error in ``volumes`` and ``app.writable``."""
    app, dynos = data.get("app"), data.get("dynos")
    process_types = [
        *(dynos if isinstance(dynos, dict) and dynos else ("web",)),
        *(name for entry in entries(data) if isinstance(name := entry.get("name"), str)),
    ]
    owners: dict[str, str] = {}
    writable = app.get("writable") if isinstance(app, dict) else None
    directories = writable if isinstance(writable, list) else []
    seeded = [
        str(entry.get("path")).strip("/") for entry in directories if isinstance(entry, dict) and entry.get("seed")
    ]
    for index, entry in enumerate(directories):
        path = entry.get("path") if isinstance(entry, dict) else entry
        if isinstance(path, str):
            if path.strip("/") in owners:
                at = ("app", "writable", index)
                yield document.diagnostic(at, f"duplicate directory {path}", hint="remove one of the entries")
            # A dyno may not set the times of a directory that another file system is mounted on, so filling it fails.
            for other in seeded:
                if path.startswith(f"{other}/") and path.strip("/") != other:
                    yield document.diagnostic(
                        ("app", "writable", index),
                        f"directory {path} is in {other}, which has seed",
                        hint=f"remove it: a dyno may write to all of {other}",
                    )
            owners[path.strip("/")] = f"{path} in app.writable"
    names: set[str] = set()
    volumes = data.get("volumes")
    for index, volume in enumerate(volumes if isinstance(volumes, list) else ()):
        if not isinstance(volume, dict):
            continue
        name, path, types = volume.get("name"), volume.get("path"), volume.get("types")
        if isinstance(name, str):
            if name in names:
                yield document.diagnostic(
                    ("volumes", index, "name"), f"duplicate volume name {name}", hint="rename one of the volumes"
                )
            names.add(name)
        if isinstance(path, str):
            directory = path.strip("/")
            for other, owner in owners.items():
                if f"{directory}/".startswith(f"{other}/") or f"{other}/".startswith(f"{directory}/"):
                    yield document.diagnostic(
                        ("volumes", index, "path"),
                        f"path {path} overlaps with {owner}",
                        expected="a separate directory",
                    )
            owners[directory] = f"volume {name}"
        for number, type_ in enumerate(types if isinstance(types, list) else ()):
            if isinstance(type_, str) and type_ not in process_types:
                yield document.diagnostic(
                    ("volumes", index, "types", number),
                    f"unknown process type {type_}",
                    expected=f"one of: {', '.join(dict.fromkeys(process_types))}",
                )
