"""Parses the output of ``systemctl show``."""

from __future__ import annotations

from collections.abc import Mapping

Unit = Mapping[str, str]


def parse(output: str) -> Mapping[str, Unit]:
    """Properties by unit name. Blocks are separated by empty lines; ``Id`` may be anywhere in its block."""
    units: dict[str, dict[str, str]] = {}
    block: dict[str, str] = {}
    for line in [*output.splitlines(), ""]:
        key, equals, value = line.partition("=")
        if equals and key.isidentifier():
            block[key] = value
        elif not line and block:
            units[block.get("Id", "")] = block
            block = {}
    return units
