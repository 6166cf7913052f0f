"""Which parts of a manifest may be secrets. No line and no message of an error shows them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.manifest.document import Document, Mark, Path
from infra.manifest.urls import SECRET, is_certain, is_secret
from schemas import load

_REFERENCES = ("from_env", "from_file", "from_command")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECTIONS = frozenset(
    {"env", "credentials", "database", "databases", "cache", "caches", "router", "middleware", "artifacts"}
)
"""Keys of the top level that may hold a secret."""

_FOREIGN = ("environment", "secrets", "config_vars")
"""What other tools call ``env``."""

_SERVICES = {"database": 2, "databases": 3, "cache": 2, "caches": 3}
"""Databases and caches, with the length of a path to their settings."""

_PLAIN = ("adapter", "path", "host", "port", "name", "user", "options")

_STORE = ("presign", "user", "read", "insecure", "relay")
"""The settings of a store that may be shown. As of databases, the value of an unknown key may be a password."""

_HIDDEN = (("router", "tls", "certificate"), ("router", "tls", "key"))

_SECRET_WORD = re.compile("|".join(sorted({*SECRET, "url"})), re.IGNORECASE)


def is_hidden(path: Path) -> bool:
    """Whether a path is a value that may be secret, or a part of one."""
    return any(_starts(path[: length + 1]) for length in range(len(path)))


def is_in_secret_section(path: Path) -> bool:
    """Whether a path is in a part of the manifest in which secrets usually are, so that text of the wrong type may be
    one whose key was lost."""
    return not path or str(path[0]) in _SECTIONS


def _starts(path: Path) -> bool:
    last = str(path[-1])
    if len(path) == 2 and path[0] in ("env", "credentials"):
        return True
    if len(path) == _SERVICES.get(str(path[0])):
        # The value of an unknown key may be the rest of a password that is not quoted.
        return last not in _PLAIN
    if path[0] == "artifacts" and (len(path) == 3 or (len(path) == 4 and path[2] == "read")):
        return last not in _STORE
    return is_secret(last) or path in _HIDDEN


def is_safe_key(key: str) -> bool:
    """Whether a key inside a value that may be secret can be shown: it is one of a reference, perhaps misspelled."""
    return bool(difflib.get_close_matches(key, _REFERENCES, 1, 0.6))


def marks(document: Document) -> Iterator[Mark]:
    """The positions of everything that may be secret."""
    for section, value in document.data.items() if isinstance(document.data, Mapping) else ():
        lost = section in _SECTIONS and isinstance(value, str) and _SECRET_WORD.search(value)
        # A variable, or a password, that has lost its colon; or a section whose key is misspelled.
        whole = lost or (isinstance(value, str) and section in ("env", "credentials")) or _is_misspelled(section)
        if whole and (section,) in document.values:
            yield from span(document, document.values[(section,)], document.ends[(section,)])
    for path, name in document.keys.items():
        if len(path) == 2 and path[0] in ("env", "credentials") and (shown := shown_of(str(path[1]))):
            at = len(shown) + (document.lines[name.line][name.column : name.column + 1] in ("'", '"'))
            yield Mark(name.line, name.column + at, max(0, name.length - at))
    for path, mark in document.values.items():
        if not path or not is_hidden(path):
            continue
        start = next(path[: length + 1] for length in range(len(path)) if _starts(path[: length + 1]))
        if _is_reference(_value(document.data, start)):
            continue
        key = document.keys.get(path)
        if key is not None and path != start and not is_safe_key(str(path[-1])):
            yield key
        if isinstance(_value(document.data, path), Mapping | list):
            continue
        if path == start and _value(document.data, path) is None:
            yield from _taken_for_comment(document, path)
        text = document.scalars.get(path, "")
        plain = (path[-1] == "url" and is_certain(text)) or (path[-1] == "repository" and "@" not in text)
        if path != start or not plain:
            yield from span(document, mark, document.ends[path])


def shown_of(name: str) -> str:
    """What can be shown of the name of a variable that holds its value as well, as in ``A:one`` and ``A=one``; "" if
    it does not."""
    found = re.match(r"[\w.-]+[:=]", name)
    return found[0] if found is not None else ""


def _is_misspelled(section: object) -> bool:
    """Whether an unknown key of the top level may stand for one that may hold a secret."""
    name = str(section)
    known = name in load("dyno.schema.json")["properties"]
    return not known and bool(difflib.get_close_matches(name.lower(), [*_SECTIONS, *_FOREIGN], 1, 0.8))


def _taken_for_comment(document: Document, path: Path) -> Iterator[Mark]:
    """The comment behind a key without a value: it may be a value that begins with #."""
    key = document.keys.get(path)
    text = document.lines[key.line] if key is not None and key.line < len(document.lines) else ""
    at = text.find("#", 0 if key is None else key.column + key.length)
    if key is not None and at >= 0:
        yield Mark(key.line, at, len(text) - at)


def unparsed(document: Document, line: int) -> Iterator[Mark]:
    """What may be secret on a line of a document that cannot be parsed."""
    text = document.lines[line] if line < len(document.lines) else ""
    above = [other for other in document.lines[: line + 1] if other.strip() and not other[0].isspace()]
    section = above[-1] if above else ""
    found = re.match(r"""(?:\{\s*)?["']?([a-z_-]+)["']?\s*:""", section) or _top_key(section)
    if not section:  # the line is indented, and no section is above it
        found = _top_key(text.lstrip(" "))
    if found is None or found[1] in _SECTIONS or _SECRET_WORD.search(text):
        # A line of a multi-line value may look like a key, so only the key of the section is shown.
        start = found.end() if found is not None and text == section else len(text) - len(text.lstrip())
        yield Mark(line, start, len(text) - start)


def _top_key(text: str) -> re.Match[str] | None:
    """The key at the start of a line, which may have lost its colon, if it is a key of the top level."""
    found = re.match(r"([a-z_]+)(?=:|\s|$)", text)
    return found if found is not None and found[1] in load("dyno.schema.json")["properties"] else None


def span(document: Document, start: Mark, end: tuple[int, int]) -> Iterator[Mark]:
    """The mark of a value for each line that it spans."""
    last, column = end
    for line in range(start.line, min(last, len(document.lines) - 1) + 1):
        first = start.column if line == start.line else 0
        stop = column if line == last else len(document.lines[line])
        if stop > first:
            yield Mark(line, first, stop - first)


def _is_reference(value: Any) -> bool:
    if not isinstance(value, Mapping) or len(value) != 1:
        return False
    ((key, source),) = value.items()
    if key == "from_command":
        return isinstance(source, list) and all(isinstance(word, str) for word in source)
    return isinstance(source, str) and (key == "from_file" or (key == "from_env" and bool(_NAME.fullmatch(source))))


def _value(data: Any, path: Path) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data
