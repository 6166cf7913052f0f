"""Long values, such as the program of a health check, shortened for a plan that is read on one screen."""

from __future__ import annotations

LONG = 160
"""Characters of a value that is shown whole."""

START = 60
"""Characters that are shown of the beginning of what is longer."""

BEFORE = 20
"""Characters that are shown before those that differ, if there are no words."""

MORE = "(shortened; see --verbose)"


def beginning(value: str) -> str:
    """A value as text; the first words of one that is long."""
    if len(value) <= LONG:
        return value
    quote, inner = _unquoted(value)
    end = inner.rfind(" ", 0, START)
    return f"{quote}{inner[: end if end > 0 else START]} ...{quote} {MORE}"


def differing(old: str, new: str) -> tuple[str, str]:
    """A value before and after; of long ones only the words that differ, with the one before them."""
    if max(len(old), len(new)) <= LONG:
        return old, new
    quote, was = _unquoted(old)
    other, will = _unquoted(new)
    if quote != other:
        return beginning(old), beginning(new)
    start = _words_alike(was, will)
    end = min(_words_alike(was[::-1], will[::-1]), len(was) - start, len(will) - start)
    start = was.rfind(" ", 0, max(start - 1, 0)) + 1
    before, after = "... " * (start > 0), " ..." * (end > 0)
    first, second = (
        beginning(f"{quote}{before}{text[start : len(text) - end].rstrip()}{after}{quote}") for text in (was, will)
    )
    # A word may be as long as a list of hosts, and blanks alone may differ, which are no words.
    return (first, second) if first != second else (_around(quote, was, will), _around(quote, will, was))


def _around(quote: str, text: str, other: str) -> str:
    """A text from a few characters before the first one that differs from ``other``."""
    start = max(_alike(text, other) - BEFORE, 0)
    before, after = "... " * (start > 0), " ..." * (len(text) > start + START)
    return f"{quote}{before}{text[start : start + START]}{after}{quote} {MORE}"


def _unquoted(value: str) -> tuple[str, str]:
    return ('"', value[1:-1]) if len(value) > 1 and value[0] == value[-1] == '"' else ("", value)


def _words_alike(one: str, other: str) -> int:
    """How many characters both begin with, up to the end of a word."""
    return one.rfind(" ", 0, _alike(one, other)) + 1


def _alike(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
