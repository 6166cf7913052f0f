"""What a schema cannot say of volumes: names and places of their own, and types of dyno that there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document
from infra.manifest.schedule_semantics import named


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every problem of ``volumes``."""
    app, given = data.get("app"), data.get("dynos")
    dynos = [*(given if isinstance(given, dict) and given else ("web",)), *(one.get("name") for one in named(data))]
    taken: dict[str, str] = {}
    writable = app.get("writable") if isinstance(app, dict) else None
    for path in writable if isinstance(writable, list) else ():
        if isinstance(path, str):
            taken[path.strip("/")] = f"app.writable has {path}"
    names: set[str] = set()
    volumes = data.get("volumes")
    for index, one in enumerate(volumes if isinstance(volumes, list) else ()):
        if not isinstance(one, dict):
            continue
        name, path, types = one.get("name"), one.get("path"), one.get("types")
        if isinstance(name, str):
            if name in names:
                yield document.diagnostic(("volumes", index, "name"), f"there are two volumes called {name}")
            names.add(name)
        if isinstance(path, str):
            place = path.strip("/")
            for other, says in taken.items():
                if f"{place}/".startswith(f"{other}/") or f"{other}/".startswith(f"{place}/"):
                    yield document.diagnostic(("volumes", index, "path"), f"{path} is taken: {says}")
            taken[place] = f"the volume {name} is there"
        for number, type_ in enumerate(types if isinstance(types, list) else ()):
            if isinstance(type_, str) and type_ not in dynos:
                where = ("volumes", index, "types", number)
                yield document.diagnostic(where, f"there are no dynos called {type_}")
