"""What a file may say: the JSON Schemas of the manifest and of the plan, and their loader."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def load(name: str) -> dict[str, Any]:
    """The schema of that name (``dyno``) as it is in the package. Do not change what you get: it is shared."""
    text = files(__name__).joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
