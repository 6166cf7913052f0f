"""Sets one value in ``.dyno/secrets``. The file is made with mode 0600, in a directory that git ignores."""

from __future__ import annotations

import os
import re
from io import StringIO
from pathlib import Path

from infra.manifest import secrets_file
from infra.manifest.rewrite import rewrite, unwritable

_BOM = "\ufeff"

_LINE = re.compile(
    r"""(export[^\S\r\n]+)?(?:'[^']+'|[^=\s]+)[^\S\r\n]*=[^\S\r\n]*"""
    r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?!['"])[^\r\n]*?)([^\S\r\n]+\#[^\r\n]*)?""",
    re.DOTALL,
)
"""A variable with ``export`` before it and a comment behind it, as dotenv reads them."""


def write(base: Path, destination: str | None, name: str, value: str) -> Path:
    """Set a variable, and return the file. Raises DynoctlError; the file is then unchanged."""
    file = secrets_file.path_of(base, destination)
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        ignore = file.parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        if not file.exists():
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        secrets_file.read(base, destination)  # refuses a file that others can read, or with an invalid line
        old = file.read_bytes()
    except OSError as error:
        raise unwritable(file, file, error) from None
    rewrite(file, old, edited(old.decode(), name, value).encode())
    return file


def edited(text: str, name: str, value: str) -> str:
    """The text with a variable set to a value. All else stays as it is: other lines, ``export`` and a comment behind
    the value, how lines end, and what some editors write at the start of UTF-8."""
    from dotenv.parser import parse_stream

    start = _BOM if text.startswith(_BOM) else ""
    parts = [start]
    line, found = f"{name}={_quoted(value)}", False
    for binding in parse_stream(StringIO(text.removeprefix(start), newline="")):
        original = binding.original.string
        if binding.key == name:
            body = original.strip()
            kept = _LINE.fullmatch(body)
            new = f"{kept[1] or ''}{line}{kept[2] or ''}" if kept else line
            original, found = original.replace(body, new, 1), True
        parts.append(original)
    whole = "".join(parts)
    if found:
        return whole
    newline = "\r\n" if "\r\n" in text else "\n"
    return f"{whole}{'' if whole in ('', _BOM) or whole.endswith(chr(10)) else newline}{line}{newline}"


def _quoted(value: str) -> str:
    """A value in single quotes, in which only these two characters are escaped."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
