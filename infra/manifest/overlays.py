"""Merge a manifest with the files it ``extends`` and with the overlay of a destination."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

from infra.errors import Diagnostic, Location
from infra.manifest import closed, shorthands
from infra.manifest.document import Document, Path
from infra.manifest.files import ALLOWED, SUFFIXES, inside, roots
from infra.manifest.load import load
from infra.manifest.model import Json
from infra.manifest.nodes import Unusable
from infra.manifest.paths import exists, is_file, is_link, resolve_path
from infra.manifest.previews import OVERLAY, split

_DESTINATION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

_REFERENCES = frozenset({"from_env", "from_file", "from_command"})

DEEPEST = 8
"""Maximum length of a chain of ``extends``."""


@dataclass
class Merged(Document):
    """Several documents merged into one. ``parts`` holds them in order, the base first; the last part that has a path
    provides its value."""

    parts: Sequence[Document] = field(default_factory=list)

    def origin(self, path: Path) -> Document:
        """The part that provides a path, or its nearest parent that exists."""
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
    """The merged document, the YAML errors of its files, and the files, the base first. A preview has the overlay of
    all previews. Raises Unusable."""
    destination, _ = split(destination)
    parts: list[tuple[Document, File]] = []
    problems: list[Diagnostic] = []
    allowed = roots(file.parent)
    _refuse_link(file, allowed)
    _add(file, parts, problems, (), allowed)
    if destination is not None:
        if not _DESTINATION.fullmatch(destination):
            raise Unusable(
                Diagnostic(
                    f"invalid value for -d: {destination!r}",
                    expected="lowercase letters, digits and dashes, such as staging",
                )
            )
        overlay = overlay_of(file, destination)
        if denied := closed.behind(overlay, f"overlay {overlay}"):
            raise Unusable(denied)
        if not is_file(overlay):
            others = sorted(file.parent.glob(f"{file.stem}.*{file.suffix}"))
            if destination == OVERLAY:
                sample = "preview: {host: preview.example.org}"
                raise Unusable(
                    Diagnostic(
                        f"overlay {overlay} not found", hint=f"create it with what all previews have, such as: {sample}"
                    )
                )
            available = [f"-d {other.stem.removeprefix(f'{file.stem}.')}" for other in others]
            raise Unusable(
                Diagnostic(
                    f"overlay {overlay} not found",
                    hint=f"available: {', '.join(available)}; a new overlay has the values that differ from {file.name}"
                    if available
                    else f"create it with the values that differ from {file.name}",
                )
            )
        _refuse_link(overlay, allowed)
        _add(overlay, parts, problems, (), allowed)
    if len(parts) == 1:
        return parts[0][0], problems, (file,)
    main = parts[-1][0]
    merged = Merged(main.file, lines=main.lines, parts=[part for part, _ in parts])
    merged.sha256 = hashlib.sha256("".join(part.sha256 for part, _ in parts).encode()).hexdigest()
    for part, _ in parts:
        merged.data = merge(merged.data, part.data)
        merged.keys |= part.keys
        merged.values |= part.values
        merged.scalars |= part.scalars
        merged.unread |= part.unread
    return merged, problems, tuple(path for _, path in parts)


def _refuse_link(file: File, allowed: tuple[File, ...]) -> None:
    """Refuse a manifest that is a link to a file elsewhere: a pull request could so read any file of this machine."""
    if is_link(file) and exists(file) and not (inside(file, allowed) and file.resolve().suffix in SUFFIXES):
        real = file.resolve()
        copy = f"copy it to a file: cat {file} > dyno.yaml"
        raise Unusable(
            Diagnostic(
                f"{file} is a link to a file outside of the repository, or to one that is not YAML",
                location=Location(str(file), 1, 1),
                hint=f"specify the file itself: -f {real}" if is_file(real) else copy,
            )
        )


def _add(
    file: File,
    parts: list[tuple[Document, File]],
    problems: list[Diagnostic],
    extended_by: tuple[File, ...],
    allowed: tuple[File, ...],
) -> None:
    document, found = load(file, empty=bool(parts) or bool(extended_by), extended=bool(extended_by))
    problems += found
    shorthands.expand(document)
    data: Any = document.data
    bases = data.pop("extends", [])
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        expected = "a file, or a list of files"
        raise Unusable(document.diagnostic(("extends",), "invalid value for extends", expected=expected))
    for name in bases:
        base, chain = resolve_path(file.resolve().parent, name), (*extended_by, file.resolve())
        if (problem := _not_a_base(document, name, base, chain, allowed)) is not None:
            raise Unusable(problem)
        if all(base.resolve() != other.resolve() for _, other in parts):  # a base of two files is merged once
            _add(base, parts, problems, chain, allowed)
    parts.append((document, file))


def _not_a_base(
    document: Document, name: str, base: File, chain: tuple[File, ...], allowed: tuple[File, ...]
) -> Diagnostic | None:
    """Why the file of a name cannot be extended, or None."""
    path, file = ("extends",), chain[-1].name
    if "://" in name:  # its path may be a token
        hint = f"copy the file beside {file}, or add its repository as a submodule of git"
        return document.diagnostic(path, "cannot extend a URL", expected="a file", hint=hint)
    if not inside(base, allowed):
        return document.diagnostic(
            path,
            f"{name} is outside of {allowed[0]}",
            expected="a file in the repository of the manifest",
            hint=f"to allow the directory: export {ALLOWED}=DIRECTORY",
        )
    if base.resolve() in chain:
        return document.diagnostic(path, f"{name} extends itself through {file}", hint=f"remove {name}")
    if len(chain) > DEEPEST:
        return document.diagnostic(path, f"extends is nested deeper than {DEEPEST} files", hint="extend fewer files")
    if denied := closed.behind(base, str(base)):
        return document.diagnostic(path, denied.summary, hint=denied.hint)
    if not is_file(base):
        return document.diagnostic(path, f"{base} not found", hint=f"use a path relative to {file}")
    if base.resolve().suffix not in SUFFIXES:
        named = f"a file named *{' or *'.join(SUFFIXES)}"
        return document.diagnostic(path, f"cannot extend {name}", expected=named)
    return None


def merge(base: Json, overlay: Json) -> Json:
    """Merge mappings key by key, where null removes a key of ``base``; replace any other value."""
    if not isinstance(overlay, dict):
        return overlay
    # A reference is a single value: its keys are not merged.
    old = base if isinstance(base, dict) and not _reference(base) and not _reference(overlay) else {}
    merged = {key: value for key, value in old.items() if key not in overlay}
    return merged | {key: merge(old.get(key), value) for key, value in overlay.items() if value is not None or not old}


def _reference(value: dict[str, Json]) -> bool:
    return not _REFERENCES.isdisjoint(value)


def expand(data: Json) -> None:
    """Add the settings of its groups and of ``server_defaults`` to each server that does not set them, in place."""
    if not isinstance(data, dict) or not isinstance(data.get("servers"), list):
        return
    groups = data.get("groups")
    for server in data["servers"]:  # type: ignore[union-attr]
        if not isinstance(server, dict):
            continue
        names = server.get("groups", [])
        members = (
            [groups.get(name) for name in names if isinstance(name, str)]
            if isinstance(groups, dict) and isinstance(names, list)
            else []
        )
        for settings in (*members, data.get("server_defaults")):
            if not isinstance(settings, dict):
                continue
            for key, value in settings.items():
                if key == "labels" and isinstance(value, dict) and isinstance(server.get(key, {}), dict):
                    server[key] = {**value, **server.get(key, {})}  # type: ignore[dict-item]
                else:
                    server.setdefault(key, value)
