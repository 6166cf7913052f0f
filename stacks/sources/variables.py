"""Environment variables of a platform: which are written, which become references, and which dynoctl sets itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from stacks.sources.found import Note, Secret, secret

_PLAIN = re.compile(
    r"TZ|LOG_LEVEL|RAILS_LOG_LEVEL|NODE_ENV|\w*CONCURRENCY|\w*(MIN|MAX)_?THREADS|\w*WORKERS|DB_POOL|RAILS_POOL_SIZE"
    r"|RUBY_YJIT_ENABLE|RUBYOPT|BUNDLE_WITHOUT|SOLID_QUEUE_IN_PUMA|\w*TIMEOUT|ASSETS_\w*_ENABLED|\w*_ENABLED"
    r"|DISABLE_\w+|ENABLE_\w+|RAILS_LOG_TO_STDOUT|RAILS_SERVE_STATIC_FILES|RACK_ENV|RAILS_ENV|LANG|PORT"
)
_SHAPE = re.compile(r"[\w.:/+-]{0,40}")

SET: Mapping[str, str] = {
    "RACK_ENV": "production",
    "RAILS_ENV": "production",
    "RAILS_LOG_TO_STDOUT": "",
    "RAILS_SERVE_STATIC_FILES": "",
    "LANG": "",
    "PORT": "",
    "NODE_ENV": "production",
    "HOME": "",
}
"""Variables that dynoctl sets itself, and the value that it sets; "" stands for any."""


@dataclass(frozen=True)
class Variables:
    """The variables of a platform, sorted out."""

    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


def harmless(name: str, value: str) -> bool:
    """Whether a variable is a setting by its name and has the shape of one, so that its value may be in a manifest."""
    return bool(_PLAIN.fullmatch(name) and _SHAPE.fullmatch(value)) and not _has_key(value)


def _has_key(value: str) -> bool:
    return len(value) > 20 and any(char.isdigit() for char in value)


def in_the_clear(values: Mapping[str, str], where: Mapping[str, Note]) -> Variables:
    """Variables that a file holds in the clear. Those that look like secrets become references."""
    env: dict[str, str] = {}
    secrets: dict[str, Secret] = {}
    notes: list[Note] = []
    for name, value in values.items():
        if set_by_dynoctl(name, value):
            continue
        at = where.get(name, Note(""))
        if secret(name, value):
            secrets[name] = Secret()
            notes.append(Note(f"{name} looks like a secret, so dyno.yaml has a reference", at.file, at.line))
        else:
            env[name] = value
    return Variables(env, secrets, tuple(notes))


def set_by_dynoctl(name: str, value: str) -> bool:
    """Whether every dyno has the variable already."""
    return name in SET and SET[name] in ("", value)
