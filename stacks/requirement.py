"""RubyGems' version requirements (``>= 3.1, < 4``, ``~> 3.1.2``), matched without a Ruby at hand."""

from __future__ import annotations

import re
from functools import total_ordering
from itertools import zip_longest

_VERSION = r"[0-9]+(?:\.[0-9A-Za-z]+)*(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_WHOLE_VERSION = re.compile(_VERSION)
_REQUIREMENT = re.compile(rf"\s*(=|!=|>=|<=|~>|>|<)?\s*({_VERSION})\s*")
_SEGMENT = re.compile(r"[0-9]+|[A-Za-z]+")


@total_ordering
class Version:
    """A version that sorts as RubyGems sorts it: numbers by value, and any letter makes a prerelease.

    Raises ValueError where the text is no version.
    """

    def __init__(self, text: str) -> None:
        if not _WHOLE_VERSION.fullmatch(text.strip()):
            raise ValueError(f"{text!r} is not a version: write numbers with dots, like 3.1 or 3.1.2")
        self.text = text.strip()
        self.segments: tuple[int | str, ...] = tuple(
            int(part) if part.isdigit() else part for part in _SEGMENT.findall(self.text.replace("-", ".pre."))
        )

    def release(self) -> Version:
        """Itself without what makes it a prerelease."""
        return self._of(self._numbers()) if self._prerelease() else self

    def bump(self) -> Version:
        """The first version that ``~>`` this one excludes: 3.1.2 gives 3.2, 3.1 gives 4, and 3 gives 4."""
        numbers = self._numbers()
        kept = numbers[:-1] if len(numbers) > 1 else numbers
        return self._of([*kept[:-1], kept[-1] + 1])

    def _prerelease(self) -> bool:
        return any(isinstance(segment, str) for segment in self.segments)

    def _numbers(self) -> list[int]:
        """The segments before the first letter."""
        numbers: list[int] = []
        for segment in self.segments:
            if isinstance(segment, str):
                break
            numbers.append(segment)
        return numbers

    @staticmethod
    def _of(numbers: list[int]) -> Version:
        return Version(".".join(str(number) for number in numbers))

    def _canonical(self) -> tuple[int | str, ...]:
        """The segments without the zeros that say nothing: those before the first letter, and at the end."""
        split = len(self._numbers())
        return _trimmed(self.segments[:split]) + _trimmed(self.segments[split:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._canonical() == other._canonical()

    def __lt__(self, other: Version) -> bool:
        for mine, theirs in zip_longest(self._canonical(), other._canonical(), fillvalue=0):
            if mine != theirs:
                return _rank(mine) < _rank(theirs)
        return False

    def __hash__(self) -> int:
        return hash(self._canonical())

    def __repr__(self) -> str:
        return f"Version({self.text!r})"


def satisfies(version: str, requirement: str) -> bool:
    """Whether ``version`` meets all of ``requirement``. Raises ValueError where either is malformed."""
    found = Version(version)
    return all(_meets(found, operator, wanted) for operator, wanted in parse(requirement))


def parse(requirement: str) -> tuple[tuple[str, Version], ...]:
    """The parts of a requirement: operator and version. Raises ValueError where it is malformed."""
    parts = []
    for part in requirement.split(","):
        match = _REQUIREMENT.fullmatch(part)
        if match is None:
            raise ValueError(
                f"{requirement!r} is not a version requirement: "
                "write it like '>= 3.1', '~> 3.1' or '>= 3.1, < 4' (operators: = != > < >= <= ~>)"
            )
        parts.append((match[1] or "=", Version(match[2])))
    return tuple(parts)


def _meets(found: Version, operator: str, wanted: Version) -> bool:
    match operator:
        case "=":
            return found == wanted
        case "!=":
            return found != wanted
        case ">":
            return found > wanted
        case "<":
            return found < wanted
        case ">=":
            return found >= wanted
        case "<=":
            return found <= wanted
        case _:
            return found >= wanted and found.release() < wanted.bump()


def _trimmed(segments: tuple[int | str, ...]) -> tuple[int | str, ...]:
    end = len(segments)
    while end and segments[end - 1] == 0:
        end -= 1
    return segments[:end]


def _rank(segment: int | str) -> tuple[int, int, str]:
    """Letters sort before every number, the end of a version (a zero) included: 3.1.a < 3.1 = 3.1.0."""
    return (0, 0, segment) if isinstance(segment, str) else (1, segment, "")
