"""The sources in the order in which they are believed, one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stacks.sources.app_json import AppJson
from stacks.sources.aptfile import Aptfile
from stacks.sources.capistrano import Capistrano
from stacks.sources.fly import Fly
from stacks.sources.found import Found, Note, Source, merged
from stacks.sources.gemfile import Bundle
from stacks.sources.heroku import Heroku
from stacks.sources.kamal import Kamal
from stacks.sources.procfile import Procfile
from stacks.sources.puma_config import PumaConfig
from stacks.sources.rails_app import RailsApp
from stacks.sources.render import Render
from stacks.sources.unicorn_config import UnicornConfig
from stacks.sources.versions import Versions

SOURCES: Sequence[Source] = (
    Heroku(),
    Kamal(),
    Fly(),
    Render(),
    Capistrano(),
    AppJson(),
    Procfile(),
    PumaConfig(),
    UnicornConfig(),
    Bundle(),
    Versions(),
    Aptfile(),
    RailsApp(),
)

PLATFORMS = tuple(source.name for source in SOURCES if source.platform)
"""The choices of ``init --from``."""

_DESCRIBE_PROCESSES = ("kamal", "fly", "render")
"""Platforms that say themselves what runs, and do not read the Procfile."""

FILES = tuple(dict.fromkeys(file for source in SOURCES for file in source.files))
"""All files that sources read, if they exist. A name may hold a ``*``."""


def read(files: Mapping[str, str], platform: str = "") -> Found:
    """What all sources say. Of several platforms, ``platform`` is read, or the first that has its file; the others are
    noted."""
    present = [source for source in SOURCES if source.platform and source.files[0] in files]
    chosen = next((source for source in SOURCES if source.name == platform), None) or next(iter(present), None)
    parts: list[Found] = [] if chosen is None else [chosen.read(files)]
    notes = [
        Note(f"not read, as {chosen.files[0]} is: to read it, init --from {source.name}", source.files[0])
        for source in present
        if chosen is not None and source.name != chosen.name and source.files[0] not in chosen.files
    ]
    for source in SOURCES:
        if source.platform or not any(file in files for file in source.files):
            continue
        if chosen is not None and chosen.name in _DESCRIBE_PROCESSES and source.name == "Procfile":
            notes.append(Note(f"not read, as {chosen.files[0]} says what runs", "Procfile"))
            continue
        parts.append(source.read(files))
    return merged([*parts, Found(notes=tuple(notes))])
