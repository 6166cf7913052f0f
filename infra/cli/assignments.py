"""The words ``KEY=VALUE`` of a command line, with the ways in which other tools and shells write them.

No message shows a value, or a word that may be a part of one: it may be a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from infra.errors import DynoctlError
from infra.model.text import enumeration

NAME = r"[A-Za-z_][A-Za-z0-9_]*"

_SET = "dynoctl config set"
_NEXT = re.compile(rf"[,;\s]\s*({NAME})=(?=[^=\s])")
"""The next variable. Base64, as of a private key, has = at the end of a line only."""

_MARKS = {",": "comma", ";": "semicolon"}
_NAMED = 5
"""Variables that a hint names."""


def pairs(words: Sequence[str]) -> dict[str, str]:
    """The variables by name. Raises DynoctlError for words that are not ``KEY=VALUE``."""
    names = [name[0] for word in words if (name := re.match(rf"{NAME}(?=[=:])", word))]
    assignments = " ".join(f"{name}=VALUE" for name in [*dict.fromkeys(names)][:_NAMED]) or "KEY=VALUE"
    _refuse_other_forms(words, f"{_SET} {assignments}")
    found: dict[str, str] = {}
    for word, after in zip(words, [*words[1:], ""], strict=True):
        key, _, value = word.partition("=")
        if value[-1:] in _MARKS and re.match(f"{NAME}=", after):
            raise DynoctlError(
                f"a {_MARKS[value[-1]]} after the value of {key}, before the next variable",
                f"separate variables by spaces: {_SET} {assignments}; if the value ends with it, set {key} alone",
            )
        if key in found:
            raise DynoctlError(f"{key} is set twice", f"remove one of them: {_SET} {assignments}")
        found[key] = value
    return found


def _refuse_other_forms(words: Sequence[str], command: str) -> None:
    """Raise DynoctlError for the first word without ``=``."""
    for number, word in enumerate(words):
        if word.find("=") > 0:
            continue
        before, after = words[:number], words[number + 1 :]
        if word and not word.strip(",;="):
            mark = _MARKS.get(word[0])
            summary = f"a {mark} between variables" if mark else "spaces around ="
            raise DynoctlError(summary, f"separate variables by spaces, and nothing else: {command}")
        if before and before[-1].endswith("="):
            raise DynoctlError("spaces around =", f"write them without spaces: {_SET} {before[-1]}VALUE")
        if after and after[0].startswith("="):
            raise DynoctlError("spaces around =", f"write them without spaces: {_SET} {word}=VALUE")
        if word in ("export", "set", "env") and after:
            raise DynoctlError(f"{word} is not the name of a variable", f"remove it: {command}")
        if name := re.match(rf"({NAME}):", word):
            raise DynoctlError(f"a colon in place of = after {name[1]}", f"{_SET} {name[1]}=VALUE")
        if before:
            raise DynoctlError(
                f"argument {number + 1} has no =",
                f"a value with spaces must be in quotes: {_SET} '{before[-1].partition('=')[0]}=VALUE'",
            )
        if not re.fullmatch(NAME, word):
            raise DynoctlError("argument 1 is not KEY=VALUE", command)
        if len(words) == 2 and "=" not in after[0]:
            raise DynoctlError(f"missing = between {word} and its value", f"{_SET} {word}=VALUE")
        raise DynoctlError(f"missing value for {word}", f"{_SET} {word}=VALUE, or for a secret: {_SET} {word} --secret")


def warnings(found: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What is wrong with values that look like several variables, and what to do. They are valid. A value that begins
    with a name itself, such as ``host=10.0.0.1 port=5432``, is a list of settings."""
    for key, value in found.items():
        others = [name for name in _NEXT.findall(value) if name.isupper() == key.isupper()]
        if others and "=" not in re.split(r"[,;\s]", value, maxsplit=1)[0]:
            assignments = " ".join(f"{name}=VALUE" for name in (key, *others[:_NAMED]))
            names = enumeration([f"{name}=" for name in others], _NAMED)
            yield f"the value of {key} contains {names}", f"for several variables: {_SET} {assignments}"
