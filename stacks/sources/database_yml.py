"""The databases of a Rails app in config/database.yml."""

from __future__ import annotations

from collections.abc import Mapping

from stacks.sources.documents import from_yaml, mapping, text_of

FILE = "config/database.yml"


def databases(files: Mapping[str, str], environment: str = "production") -> dict[str, Mapping[str, str]]:
    """The settings of each database of an environment by its name; the first one is ``primary``."""
    section = mapping(mapping(from_yaml(FILE, files.get(FILE, ""), erb=True).data).get(environment))
    several = {name: mapping(entry) for name, entry in section.items() if isinstance(entry, dict)}
    found = several or ({"primary": section} if section else {})
    return {name: {key: text_of(value) for key, value in entry.items()} for name, entry in found.items()}
