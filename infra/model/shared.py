"""A record that many servers have alike, so that it is handed on once and not once for each server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any


class Shared(dict[str, Any]):
    """A mapping that was parsed from ``text``, and is never changed. Two of the same text have the same ``digest``."""

    def __init__(self, value: Mapping[str, Any], text: str) -> None:
        super().__init__(value)
        self.digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
