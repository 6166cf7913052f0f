"""A manifest of several files: what it ``extends`` lies under it, the overlay of a destination over it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

from infra.errors import Diagnostic, Location
from infra.manifest.document import Document, Path
from infra.manifest.load import Unusable, load
from infra.manifest.model import Json
from infra.manifest.places import is_file, place

_DESTINATION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

_KINDS = frozenset({"from_env", "from_file", "from_command"})

DEEPEST = 8
"""How far one file may extend another that extends another ..."""


@dataclass
class Layered(Document):
    """Several documents as one. ``parts`` are in order, the lowest first; what a place says is the highest part's that
    has it."""

    parts: Sequence[Document] = field(default_factory=list)

    def origin(self, path: Path) -> Document:
        """The part in which a path, or the nearest place above it, stands."""
        while True:
            for part in reversed(self.parts):
                if path in part.keys or (path and path in part.values):
                    return part
            if not path:
                return self.parts[-1]
            path = path[:-1]

    def locate(self, path: Path, *, key: bool = False) -> Location | None:
        return self.origin(path).locate(path, key=key)


def overlay_of(file: File, destination: str) -> File:
    """``dyno.staging.yaml`` for the destination ``staging`` of ``dyno.yaml``."""
    return file.with_name(f"{file.stem}.{destination}{file.suffix}")


def load_all(file: File, destination: str | None = None) -> tuple[Document, list[Diagnostic], tuple[File, ...]]:
    """The merged document, what is wrong with its files as YAML, and the files, the lowest first. Raises Unusable."""
    parts: list[tuple[Document, File]] = []
    problems: list[Diagnostic] = []
    _add(file, parts, problems, ())
    if destination is not None:
        if not _DESTINATION.fullmatch(destination):
            raise Unusable(
                Diagnostic(f"-d cannot be {destination!r}", expected="small letters, digits and dashes, like staging")
            )
        over = overlay_of(file, destination)
        if not is_file(over):
            there = sorted(one.name for one in file.parent.glob(f"{file.stem}.*{file.suffix}"))
            raise Unusable(
                Diagnostic(
                    f"there is no {over}, which -d {destination} lays over {file.name}",
                    location=Location(str(over), 1, 1),
                    hint=f"There is: {', '.join(there)}." if there else "It says only what is different there.",
                )
            )
        _add(over, parts, problems, ())
    if len(parts) == 1:
        return parts[0][0], problems, (file,)
    main = parts[-1][0]
    merged = Layered(main.file, lines=main.lines, parts=[part for part, _ in parts])
    merged.sha256 = hashlib.sha256("".join(part.sha256 for part, _ in parts).encode()).hexdigest()
    for part, _ in parts:
        merged.data = merge(merged.data, part.data)
        merged.keys |= part.keys
        merged.values |= part.values
        merged.scalars |= part.scalars
    return merged, problems, tuple(one for _, one in parts)


def _add(file: File, parts: list[tuple[Document, File]], problems: list[Diagnostic], below: tuple[File, ...]) -> None:
    document, found = load(file, empty=bool(parts))
    problems += found
    data: Any = document.data
    bases = data.pop("extends", [])
    here = document.locate(("extends",))
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise Unusable(
            Diagnostic("extends is no file's name", "extends", here, expected="extends: ../base.yaml, or a list")
        )
    for name in bases:
        base = place(file.resolve().parent, name)
        chain = (*below, file.resolve())
        if base.resolve() in chain:
            raise Unusable(Diagnostic(f"{name} extends itself, by way of {file.name}", "extends", here))
        if len(chain) > DEEPEST:
            raise Unusable(Diagnostic(f"more than {DEEPEST} files extend each other", "extends", here))
        if not is_file(base):
            raise Unusable(Diagnostic(f"there is no {base}", "extends", here, hint="Name it relative to this file."))
        if all(base.resolve() != other.resolve() for _, other in parts):  # what two extend lies under both
            _add(base, parts, problems, chain)
    parts.append((document, file))


def merge(under: Json, over: Json) -> Json:
    """Mappings are merged key by key, where a value of nothing takes a key away; everything else is replaced whole."""
    if not isinstance(over, dict):
        return over
    # A reference is one value, and not a mapping with keys of its own.
    base = under if isinstance(under, dict) and not _reference(under) and not _reference(over) else {}
    merged = {key: value for key, value in base.items() if key not in over}
    return merged | {key: merge(base.get(key), value) for key, value in over.items() if value is not None or not base}


def _reference(value: dict[str, Json]) -> bool:
    return not _KINDS.isdisjoint(value)


def expand(data: Json) -> None:
    """Fill in, in place, what ``server_defaults`` and the groups of a server say and it does not."""
    if not isinstance(data, dict) or not isinstance(data.get("servers"), list):
        return
    groups = data.get("groups")
    for server in data["servers"]:  # type: ignore[union-attr]
        if not isinstance(server, dict):
            continue
        names = server.get("groups", [])
        asked = (
            [groups.get(name) for name in names if isinstance(name, str)]
            if isinstance(groups, dict) and isinstance(names, list)
            else []
        )
        for more in (*asked, data.get("server_defaults")):
            if not isinstance(more, dict):
                continue
            for key, value in more.items():
                if key == "labels" and isinstance(value, dict) and isinstance(server.get(key, {}), dict):
                    server[key] = {**value, **server.get(key, {})}  # type: ignore[dict-item]
                else:
                    server.setdefault(key, value)
