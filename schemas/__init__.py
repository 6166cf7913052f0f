"""What a file may say: the JSON Schemas of dynoctl's files, and their loader."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def load(name: str) -> dict[str, Any]:
    """A schema by its file's name: ``load("dyno.schema.json")``. Treat it as read-only."""
    document: dict[str, Any] = json.loads(files("schemas").joinpath(name).read_text(encoding="utf-8"))
    return document
