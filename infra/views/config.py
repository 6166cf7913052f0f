"""The merged manifest as YAML, with the file and line that each value comes from; possible secrets are masked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from infra.manifest import masking
from infra.manifest.document import Document, Mark, Path
from infra.manifest.urls import is_secret, masked, parse
from infra.views.style import Style

_PLAIN = re.compile(r"(?:[A-Za-z_/]|\.{1,2}(?:/|$))[A-Za-z0-9_./ -]*(?<! )")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"}
_REFERENCES = ("from_env", "from_file", "from_command")
MASK = "***"


def render(document: Document, style: Style) -> str:
    """The manifest with every value on its own line, and its origin as a comment."""
    lines = list(_lines(document, (), document.data, 0))
    width = min(72, max((len(text) for text, _ in lines), default=0))
    return "\n".join(f"{text:<{width}}  {style('dim', f'# {origin}')}" if origin else text for text, origin in lines)


def values(document: Document) -> list[dict[str, object]]:
    """The same as JSON values, each with path, value, file and line."""
    found = []
    for path, value in _leaves((), document.data):
        location = document.locate(path)
        found.append(
            {
                "path": "/".join(map(str, path)),
                "value": _masked(document, path, value),
                "file": None if location is None else location.file,
                "line": None if location is None else location.line,
            }
        )
    return found


def _lines(document: Document, path: Path, value: Any, depth: int, dash: str = "") -> Iterator[tuple[str, str]]:
    indent = "  " * depth
    items: list[tuple[str, Path, Any]] = []
    if isinstance(value, dict):
        items = [(f"{_scalar(key)}:", (*path, key), item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [("-", (*path, index), item) for index, item in enumerate(value)]
    for number, (head, here, item) in enumerate(items):
        lead = (indent[: -len(dash)] + dash) if dash and number == 0 else indent
        if isinstance(item, dict | list) and item:
            if head == "-" and isinstance(item, dict):
                yield from _lines(document, here, item, depth + 1, "- ")
            else:
                yield f"{lead}{head}", ""
                yield from _lines(document, here, item, depth + 1)
        else:
            yield f"{lead}{head} {_text(document, here, item)}", _origin(document, here)


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves((*path, key), item)
    else:
        yield path, value


def _origin(document: Document, path: Path) -> str:
    location = document.locate(path)
    return "" if location is None else f"{location.file}:{location.line}"


def _masked(document: Document, path: Path, value: Any) -> Any:
    """The value at ``path`` with secrets masked: keys named like secrets and passwords in URLs.

    A reference is not masked, as it only names where the value is. A variable is shown as the text that a dyno gets."""
    named = [str(part) for part in path]
    if not any(part in _REFERENCES for part in named):
        origin = document.origin(path)
        mark = origin.values.get(path)
        if any(is_secret(part) for part in named) or (mark is not None and mark in _passwords(origin)):
            return MASK if not isinstance(value, dict | list) else value
        if path[0] == "env" and path in document.scalars:
            value = document.scalars[path]
    if named[-1] == "url" and masking.is_hidden(path) and isinstance(value, str) and parse(value) is None:
        return MASK
    return masked(value, MASK) if isinstance(value, str) else value


def _passwords(document: Document) -> set[Mark]:
    """The positions of passwords in the file. An alias has the position of its anchor."""
    return {mark for path, mark in document.values.items() if path and is_secret(str(path[-1]))}


def _text(document: Document, path: Path, value: Any) -> str:
    value = _masked(document, path, value)
    if isinstance(value, str):
        return _scalar(value)
    return json.dumps(value, ensure_ascii=False)


def _scalar(text: str) -> str:
    """A string as YAML, unquoted if it cannot be read as anything else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    """A string in double quotes, with characters that cannot be printed escaped as in YAML."""
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(text, ensure_ascii=False))
