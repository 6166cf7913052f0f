"""The JSON Schemas of dynoctl's files, and their loader."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def load(name: str) -> dict[str, Any]:
    """The schema in the file ``name``, such as ``dyno.schema.json``. It is cached: do not modify it."""
    document: dict[str, Any] = json.loads(files("schemas").joinpath(name).read_text(encoding="utf-8"))
    return document
