"""Which parts of a manifest may be secrets. No line and no message of an error shows them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from infra.manifest import known_keys
from infra.manifest.document import Document, Mark, Path
from infra.manifest.replaced_values import is_password, is_replaced, may_be_replaced
from infra.manifest.suggestions import nearest
from infra.manifest.urls import SECRET, is_certain, is_secret

_REFERENCES = ("from_env", "from_file", "from_command")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECTIONS = frozenset(
    {"env", "credentials", "database", "databases", "cache", "caches", "router", "middleware", "artifacts"}
)
"""Keys of the top level that may hold a secret."""

_NAMES: Mapping[Path, re.Pattern[str]] = {
    ("env",): re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[A-Z]+([-. ][A-Z]+)*"),
    ("credentials",): re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"),
    ("rollout", "health", "headers"): re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}"),
}
"""What the names of variables, credentials and headers look like, also invalid ones that are no values."""

_WORDS = re.compile(r"[A-Za-z]*[a-z0-9]*([_ -][a-z0-9]+)*|[A-Z][A-Z0-9_]*|x-.*")
"""What a key may look like, also of another tool."""

_FOREIGN = ("environment", "secrets", "config_vars")
"""What other tools call ``env``."""

_SERVICES = {"database": 2, "databases": 3, "cache": 2, "caches": 3}
"""Databases and caches, with the length of a path to their settings."""

_PLAIN = ("adapter", "path", "host", "port", "name", "user", "options")

_STORE = ("presign", "user", "read", "insecure", "relay")
"""The settings of a store that may be shown. As of databases, the value of an unknown key may be a password."""

_HIDDEN = (("router", "tls", "certificate"), ("router", "tls", "key"))

_SECRET_WORD = re.compile("|".join(sorted({*SECRET, "url"})), re.IGNORECASE)

_OF_LOGIN = re.compile(r"\buser\w?\b.*:\S|known_hosts", re.IGNORECASE)
"""What is on a line that may have such a user, or a text in place of a file."""

_TELLING = re.compile("authorization|cookie|credential|key|secret|signature|token", re.IGNORECASE)
"""What is in the name of a header whose value is a secret, although everybody on the server can read it."""

_KEY = re.compile(r"""(?:^\s*(?:- +)*|(?<=[{,\[ ])[\s{\["']*)["'{\[ ]*([\w.-]+)["']?\s*:(?=\s|$)""")
"""A key on a line, perhaps in braces."""


def is_hidden(path: Path) -> bool:
    """Whether a path is a value that may be secret, or a part of one."""
    return any(_starts(path[: length + 1]) for length in range(len(path)))


def is_in_secret_section(path: Path) -> bool:
    """Whether a path is in a part of the manifest in which secrets usually are, so that text of the wrong type may be
    one whose key was lost."""
    return not path or str(path[0]) in _SECTIONS


def _starts(path: Path) -> bool:
    if known_keys.is_unknown(path):
        return len(path) > 1 or not _is_unindented(path)
    written, path = str(path[-1]), known_keys.meant(path)
    last = str(path[-1])
    if path[:3] == ("rollout", "health", "headers") and len(path) == 4:
        return bool(_TELLING.search(last)) or is_value_as_name(path)
    if len(path) == 2 and path[0] in ("env", "credentials"):
        return True
    if len(path) == _SERVICES.get(str(path[0])):
        # The value of an unknown key may be the rest of a password that is not quoted.
        return written not in _PLAIN
    if path[0] == "artifacts" and (len(path) == 3 or (len(path) == 4 and path[2] == "read")):
        return written not in _STORE
    return is_secret(last) or path in _HIDDEN


def _is_unindented(path: Path) -> bool:
    """Whether an unknown key of the top level is one of a section, which has lost its indentation, and holds no
    secret there."""
    key = str(path[0])
    return key in known_keys.everywhere() and not (_SECRET_WORD.search(key) or _TELLING.search(key))


def is_shown(path: Path, value: object) -> bool:
    """Whether the value at a path can be shown: neither its place nor what it looks like tells of a secret."""
    return not (is_hidden(path) or is_lost(path, value) or is_replaced(path, value))


def may_be_secret(path: Path) -> bool:
    """Whether the value at a path may be secret, whatever it looks like."""
    return is_hidden(path) or may_be_replaced(path)


def is_lost(path: Path, value: object) -> bool:
    """Whether a text in place of a mapping may be a key with a secret that has lost its colon, as in ``token one``."""
    if not isinstance(value, str) or not re.search(r"[\s:=]", value) or path[0] == "dynos":
        return False
    if not known_keys.is_mapping(path):
        return False
    word = re.split(r"[\s:=]", value, maxsplit=1)[0]
    known = _alike(word, known_keys.everywhere())
    return not known or any(word.search(known) for word in (_SECRET_WORD, _TELLING)) or bool(_OF_LOGIN.search(value))


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
            yield from _comment_behind(document, document.ends[(section,)])
    for path, name in document.keys.items():
        if tag := re.match(r"[!&]\S+", document.lines[name.line][name.column :]):
            yield Mark(name.line, name.column, len(tag[0]))
        if is_value_as_name(path):
            shown = shown_of(str(path[-1]))
            at = len(shown) + (document.lines[name.line][name.column : name.column + 1] in ("'", '"'))
            yield Mark(name.line, name.column + at, max(0, name.length - at))
    for path, mark in document.values.items():
        if path and (is_lost(path, document.scalars.get(path)) or is_replaced(path, _value(document.data, path))):
            yield from span(document, mark, document.ends[path])
            yield from _comment_behind(document, document.ends[path])
        if may_be_replaced(path) and _value(document.data, path) is None:
            if path in document.unread:
                yield from span(document, mark, document.ends[path])
            yield from _taken_for_comment(document, path)
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
            yield from _comment_behind(document, document.ends[path])


def is_value_as_name(path: Path) -> bool:
    """Whether what stands for a name or an unknown key may be a value: it does not look like one."""
    name = str(path[-1])
    if known_keys.is_unknown(path):
        return is_password(path) or _WORDS.fullmatch(name.partition(":")[0]) is None
    return path[:-1] in _NAMES and _NAMES[path[:-1]].fullmatch(name) is None


def shown_of(name: str) -> str:
    """What can be shown of the name of a variable that holds its value as well, as in ``A:one`` and ``A=one``; "" if
    it does not."""
    found = re.match(r"(?:[A-Z_][A-Z0-9_]*|[a-z_][a-z0-9_]*)[:=]", name)
    return found[0] if found is not None else ""


def _is_misspelled(section: object) -> bool:
    """Whether an unknown key of the top level may stand for one that may hold a secret."""
    name = str(section)
    known = name in known_keys.top()
    return not known and bool(difflib.get_close_matches(name.lower(), [*_SECTIONS, *_FOREIGN], 1, 0.8))


def _taken_for_comment(document: Document, path: Path) -> Iterator[Mark]:
    """The comment behind a key without a value: it may be a value that begins with #."""
    key = document.keys.get(path)
    text = document.lines[key.line] if key is not None and key.line < len(document.lines) else ""
    at = text.find("#", 0 if key is None else key.column + key.length)
    if key is not None and at >= 0:
        yield Mark(key.line, at, len(text) - at)


def unparsed(document: Document, line: int) -> Iterator[Mark]:
    """What may be secret on a line of a document that cannot be parsed: all but the known keys at its start, if it is
    in a section that may hold a secret or none can tell which; else the values of unknown keys."""
    text = document.lines[line] if line < len(document.lines) else ""
    above = [other for other in document.lines[: line + 1] if other.strip() and not other[0].isspace()]
    section = above[-1] if above else ""
    found = re.match(r"""(?:\{\s*)?["']?([a-z_-]+)["']?\s*:""", section) or _top_key(section)
    if not section:  # the line is indented, and no section is above it
        found = _top_key(text.lstrip(" "))
    start = len(text) - len(text.lstrip())
    name = "" if found is None else _alike(found[1], known_keys.top())
    if not name or name in _SECTIONS or any(word.search(text) for word in (_SECRET_WORD, _TELLING, _OF_LOGIN)):
        # A line of a multi-line value may look like a key, so only the key of the section is shown.
        document_start = re.match(r"(---|\.\.\.)(\s+|$)", text)
        start = found.end() if found is not None and text == section else start
        start = document_start.end() if document_start is not None else start
    else:
        goes_on = _goes_on(document.lines[:line], start)
        start = _first_unknown(text, start, free=name in ("dynos", "groups"), goes_on=goes_on)
    start += len(text[start:]) - len(text[start:].lstrip())
    yield Mark(line, start, len(text) - start)


def _goes_on(above: list[str], column: int) -> bool:
    """Whether a line at a column may belong to the value of a key above it, which began on the line of the key."""
    last = next((line for line in reversed(above) if line.strip()), "")
    return len(last) - len(last.lstrip()) < column and re.search(r":\s+[^\s#]", last) is not None


def _first_unknown(text: str, start: int, *, free: bool, goes_on: bool) -> int:
    """Where on a line of a section without secrets something begins that may be one: behind the first key that no
    manifest has (unless the first one is ``free``) or that begins a section with secrets, or at the start, if there is
    no known key. An unknown key at the start of a line that ``goes_on`` with a value may be a part of it."""
    keys = [*_KEY.finditer(text)]
    for number, found in enumerate(keys):
        known = _alike(found[1], known_keys.everywhere())
        if goes_on and number == 0 and not known:
            return start
        if (not known and not (free and number == 0)) or found[1] in _SECTIONS:
            return found.end()
    first = re.match(r"[\s{\[-]*([\w.]+)(?![\w.]*:/)", text)
    if keys or (first is not None and _alike(first[1], known_keys.everywhere())):
        return len(text)
    return start


def _alike(name: str, known: Collection[str]) -> str:
    """The known key that a name is, or is almost."""
    return name if name in known else nearest(name, sorted(known), known_keys.ALIKE)


def _top_key(text: str) -> re.Match[str] | None:
    """The key at the start of a line, which may have lost its colon, if it is a key of the top level."""
    found = re.match(r"([a-z_]+)(?=:|\s|$)", text)
    return found if found is not None and found[1] in known_keys.top() else None


def _comment_behind(document: Document, end: tuple[int, int]) -> Iterator[Mark]:
    """The comment behind a value: it may be an earlier one, or its rest."""
    line, column = end
    text = document.lines[line] if line < len(document.lines) else ""
    if found := re.match(r"\s+(?=#)", text[column:]):
        yield Mark(line, column + found.end(), len(text) - column - found.end())


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
