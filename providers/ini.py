"""Unit files as values: a mapping ``Section.Key`` -> value in, text out, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping

Settings = Mapping[str, str]


def render(settings: Settings) -> str:
    """A unit file's text. A value with newlines becomes one line per part (``Environment=`` twice)."""
    lines: list[str] = []
    section = ""
    for name, value in settings.items():
        here, _, key = name.partition(".")
        if here != section:
            lines += ([""] if lines else []) + [f"[{here}]"]
            section = here
        lines += [f"{key}={part}" for part in value.split("\n")]
    return "\n".join(lines) + "\n"


def parse(text: str) -> dict[str, str]:
    """The settings of a unit file, comments left out. A key that stands twice has its values joined by newlines."""
    settings: dict[str, str] = {}
    section = ""
    for raw in text.replace("\\\n", " ").split("\n"):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, _, value = line.partition("=")
        name = f"{section}.{key.strip()}"
        settings[name] = f"{settings[name]}\n{value.strip()}" if name in settings else value.strip()
    return settings


def quote(word: str) -> str:
    """One word of ``ExecStart=`` or ``Environment=``: quoted, with systemd's own expansions switched off."""
    text = _escaped(word).replace("$", "$$")
    return f'"{text}"' if not text or any(c in text for c in " '\"\\;") else text


def unquote(text: str) -> str:
    """What ``environment`` made of a name and its value, as it was."""
    inner = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    raw = re.sub(rb"\\(?:x([0-9a-f]{2})|(.))", _plain, inner.replace("%%", "%").encode())
    return raw.decode(errors="replace")


def _plain(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)]) if match[1] else match[2]


def environment(name: str, value: str) -> str:
    """One ``NAME=value`` of ``Environment=``, where a dollar sign means itself."""
    return f'"{_escaped(f"{name}={value}")}"'


def _escaped(text: str) -> str:
    """For inside double quotes. Whatever could end a line, for systemd or a reader, becomes its number."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return "".join(c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in c.encode()) for c in plain)
