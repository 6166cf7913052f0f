"""A YAML parser's complaints in our words: what a person should look at, never the parser's own terms."""

from __future__ import annotations

import re

import yaml

from infra.manifest.nodes import Broken
from infra.manifest.source import Span

_QUOTES = 'A value that holds ": " or begins with one of @ ` % & * ! | > [ { must stand in quotes.'
_INDENT = "Compare the indentation with the lines above: keys of one mapping begin in the same column."

# A part of the parser's problem; what we say; what to do about it; whether it points at where it all began.
_WORDS: tuple[tuple[str, str, str, bool], ...] = (
    ("mapping values are not allowed", "A colon is not expected here", f"{_QUOTES} {_INDENT}", False),
    ("found unexpected end of stream", "This quote is never closed", "Close it on the same line.", True),
    ("did not find expected ',' or ']'", "This list is not closed", "Put a comma or ] after its last entry.", True),
    ("did not find expected ',' or '}'", "This mapping is not closed", "Put a comma or } after its last entry.", True),
    ("did not find expected '-'", "A list entry is expected here", f"Begin it with a dash. {_INDENT}", False),
    ("did not find expected key", "A key is expected here", _INDENT, False),
    ("could not find expected ':'", "This line has no key", "Write it as key: value.", True),
    ("block sequence entries are not", "A list cannot begin here", "Begin it on a line of its own.", False),
    ("block mapping", "A mapping cannot begin here", "Begin it on a line of its own.", False),
    ("alphabetic or numeric", "An anchor or an alias has no name", _QUOTES, False),
    ("cannot start any token", "A value cannot begin with this character", _QUOTES, False),
    ("unknown escape character", "A backslash before this character means nothing", "Double it, or use '.", False),
    ("Unicode character escape", "This is not a character of Unicode", "", False),
    ("expected hexdecimal", "This is not a character of Unicode", "", False),
    ("undefined tag handle", "Tags are not allowed", "Remove it.", False),
    ("expected <document start>", "Nothing is expected after the end of the document", _INDENT, False),
    ("document indicator", "The document ends inside of a quoted text", "Close the quote.", True),
    ("did not find expected node", "A value is expected here", _QUOTES, False),
    ("incompatible YAML document", "This version of YAML is too new", "Remove the %YAML line.", False),
)
_LEADING_TAB = re.compile(r"[ ]*(\t)\s*")


def explain(text: str, error: yaml.YAMLError) -> Broken:
    """What to tell of a parser's error."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Broken("This cannot be read as YAML", Span(0, 1))
    at, began = error.problem_mark or error.context_mark, error.context_mark
    offset = min(at.index, len(text)) if at is not None else 0
    tab = _tab(text, offset)
    if tab is not None:
        return Broken("A tab cannot indent YAML", tab, hint="Use spaces.")
    problem = error.problem or ""
    for part, summary, hint, at_beginning in _WORDS:
        if part in problem:
            if at_beginning and began is not None:
                offset = min(began.index, len(text))
            return Broken(summary, Span(offset, offset + 1), hint=hint)
    return Broken("This cannot be read as YAML", Span(offset, offset + 1), hint=_INDENT)


def _tab(text: str, offset: int) -> Span | None:
    """The tab before the first word of the line that holds ``offset``."""
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    found = _LEADING_TAB.match(text, start)
    return Span(*found.span(1)) if found else None
