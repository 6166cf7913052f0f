"""Converts unit files to and from a mapping of ``Section.Key`` to value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from infra.errors import DynoctlError
from infra.model.text import control

Settings = Mapping[str, str]


def render(settings: Settings) -> str:
    """The text of a unit file. A value with newlines becomes one setting per line, as for ``Environment=``.

    Raises DynoctlError if a value would be more than that: with any other character that ends a line (systemd ends one
    at a carriage return, too), or with a backslash that joins the next line to it."""
    lines: list[str] = []
    section = ""
    for name, value in settings.items():
        own_section, _, key = name.partition(".")
        if own_section != section:
            lines += ([""] if lines else []) + [f"[{own_section}]"]
            section = own_section
        for part in value.split("\n"):
            if (found := control(f"{name}{part}")) is not None:
                raise DynoctlError(f"cannot write a unit: {ascii(name)[1:-1]} contains the control character {found}")
            if (len(part) - len(part.rstrip("\\"))) % 2:
                raise DynoctlError(f"cannot write a unit: {name} ends with a backslash, which continues the line")
            lines.append(f"{key}={part}")
    return "\n".join(lines) + "\n"


def parse(text: str) -> dict[str, str]:
    """The settings of a unit file, without comments. The values of a repeated key are joined by newlines."""
    settings: dict[str, str] = {}
    section, known = "", dict[str, tuple[str, str]]()
    for raw in text.replace("\r", "\n").replace("\\\n", " ").split("\n"):
        found = known.get(raw)
        if found is None:
            line = raw.strip(" \t")
            if not line or line[0] in "#;":
                continue
            if line[0] == "[" and line[-1] == "]":
                section = line[1:-1]
                known = _known.get(section, {})
                continue
            key, _, value = line.partition("=")
            found = f"{section}.{key.strip()}", value.strip(" \t")
            if len(raw) <= _SHORT and len(known) < _LINES:  # also of an unknown section, whose lines are forgotten
                known[raw] = found
        name, value = found
        settings[name] = f"{settings[name]}\n{value}" if name in settings else value
    return settings


_SHORT, _LINES = 200, 1024
"""Characters of a line that is remembered, and lines of a section. A server may have any number of others."""

_known: dict[str, dict[str, tuple[str, str]]] = {
    section: {} for section in ("Unit", "Service", "Socket", "Mount", "Timer", "Install")
}
"""Settings by section and line. Most are the same in the units of all dynos, which then share one text in memory."""


@lru_cache(maxsize=256)  # all dynos run the same programs
def quote(word: str) -> str:
    """One argument of ``ExecStart=``, quoted, with systemd's expansions escaped."""
    text = _escaped(word).replace("$", "$$")
    return f'"{text}"' if not text or any(c in text for c in " '\"\\;") else text


def unquote(text: str) -> str:
    """The ``NAME=value`` that ``environment`` quoted."""
    inner = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    raw = re.sub(rb"\\(?:x([0-9a-f]{2})|(.))", _plain, inner.replace("%%", "%").encode())
    return raw.decode(errors="replace")


def _plain(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)]) if match[1] else match[2]


def environment(name: str, value: str) -> str:
    """One ``NAME=value`` of ``Environment=``, where a dollar sign is literal."""
    return f'"{_escaped(f"{name}={value}")}"'


@lru_cache(maxsize=64)  # all dynos run the same programs
def _escaped(text: str) -> str:
    """``text`` for use inside double quotes. Characters that cannot be printed become ``\\xNN``."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if plain.isprintable():
        return plain
    return "".join(c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in c.encode()) for c in plain)
