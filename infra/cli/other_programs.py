"""What is meant by the arguments of docker, kubectl, systemctl and fly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

DYNO = r"[a-z][a-z0-9]*\.[0-9a-z]+"
YAML = r".*\.ya?ml"

_KIND = re.compile(r"(?:pods?|po|deployments?|deploy|services?|svc)(/?)")
"""What kubectl has before a name, as in ``deployment/web`` and ``deployment web``."""

_UNIT = re.compile(r"dyno-[a-z0-9-]+-([a-z][a-z0-9]*)-([0-9]+)(?:\.service)?")
"""The unit of a dyno, which systemctl restarts."""

_VALUED = (
    *("-u", "--user", "-e", "--env", "--env-file", "-w", "--workdir"),
    *("-c", "--container", "-n", "--namespace", "-r", "--roles", "-h", "--hosts"),
)
"""Options of ``exec`` with a value in docker, kubectl and kamal."""


def names(words: Sequence[str]) -> list[str]:
    """The words without the kinds of kubectl, and dynos for their units."""
    found = []
    for number, word in enumerate(words):
        kind = _KIND.match(word)
        if kind is not None and kind[1]:
            word = word[kind.end() :]
        elif number == 0 and kind is not None and kind[0] == word and any(map(_is_word, words[1:])):
            continue
        unit = _UNIT.fullmatch(word)
        found.append(word if unit is None else f"{unit[1]}.{unit[2]}")
    return found


def command(words: Sequence[str], *, service: bool = False) -> list[str]:
    """The command in the arguments of ``exec``, without its options and without the container that it runs in.
    ``service``: the container is named in any case, as for Compose."""
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        rest = rest[2 if rest[0] in _VALUED else 1 :]
    target = rest[:1] != ["--"] and (
        service or _is_container(rest[:1]) or ("--" in rest and len(list(takewhile(_is_word, rest))) == 1)
    )
    rest = rest[1:] if target else rest
    before = list(takewhile(lambda word: word != "--", rest))
    if len(before) < len(rest) and (not before or before[0].startswith("-")):
        return rest[len(before) + 1 :]
    return rest


def _is_word(word: str) -> bool:
    return not word.startswith("-")


def _is_container(words: Sequence[str]) -> bool:
    return any(re.fullmatch(DYNO, word) or ((kind := _KIND.match(word)) and kind[1]) for word in words)


def of_logs(words: Sequence[str]) -> list[str]:
    """The arguments of ``logs`` with the option for the dyno or the process type that is last."""
    *before, last = words
    if before and before[-1].startswith("-") and before[-1] not in ("-f", "--follow"):
        return list(words)
    option = "--dyno" if re.fullmatch(DYNO, last) else "--type" if re.fullmatch(r"[a-z][a-z0-9]*", last) else ""
    if not option or re.fullmatch(YAML, last):
        return list(words)
    return [*("--follow" if word == "-f" else word for word in before), option, last]


def that_fit(command: str, words: Sequence[str]) -> list[str]:
    """Those of the words that can be arguments of a command of dynoctl, and not what another tool has there too."""
    if command == "dynoctl rollback":
        return [word for word in words if re.fullmatch(r"v?[0-9]+", word)]
    if command in ("dynoctl scale", "dynoctl config set"):
        return [word for word in words if "=" in word] or list(words)
    return list(words)
