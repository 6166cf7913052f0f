"""The merged manifest as YAML, with the file and line that each value comes from; what may be secret is starred out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from infra.manifest.document import Document, Path
from infra.views.style import Style, printable

_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./ -]*(?<! )")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"}
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*(?=@)|(?<=password=)[^&\s]*", re.IGNORECASE)
MASK = "***"


def render(document: Document, style: Style) -> str:
    """Every value on a line of its own, with its origin as a comment."""
    lines = list(_lines(document, (), document.data, 0))
    width = min(72, max((len(text) for text, _ in lines), default=0))
    return "\n".join(f"{text:<{width}}  {style('dim', f'# {origin}')}" if origin else text for text, origin in lines)


def values(document: Document) -> list[dict[str, object]]:
    """The same as JSON values: path, value, file and line."""
    found = []
    for path, value in _leaves((), document.data):
        where = document.locate(path)
        found.append(
            {
                "path": "/".join(map(str, path)),
                "value": _masked(path, value),
                "file": None if where is None else where.file,
                "line": None if where is None else where.line,
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
            yield f"{lead}{head} {_text(here, item)}", _origin(document, here)


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves((*path, key), item)
    else:
        yield path, value


def _origin(document: Document, path: Path) -> str:
    where = document.locate(path)
    return "" if where is None else f"{where.file}:{where.line}"


def _masked(path: Path, value: Any) -> Any:
    """A password is masked, and what stands for one in a URL; a reference only names where a value is."""
    if path and path[-1] == "password":
        return MASK
    return _CREDENTIALS.sub(MASK, value) if isinstance(value, str) else value


def _text(path: Path, value: Any) -> str:
    value = _masked(path, value)
    return _scalar(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _scalar(text: str) -> str:
    """A string as YAML: bare where nobody can take it for anything else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(printable(text), ensure_ascii=False)
