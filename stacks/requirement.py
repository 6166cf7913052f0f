"""Version requirements of RubyGems (``>= 3.1, < 4``, ``~> 3.1.2``), matched without running Ruby."""

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
    """A version that sorts as in RubyGems: numbers by value, and a letter makes it a prerelease.

    Raises ValueError if the text is not a version.
    """

    def __init__(self, text: str) -> None:
        if not _WHOLE_VERSION.fullmatch(text.strip()):
            raise ValueError(f"invalid version {text!r}, expected numbers separated by dots, such as 3.1 or 3.1.2")
        self.text = text.strip()
        self.segments: tuple[int | str, ...] = tuple(
            int(part) if part.isdigit() else part for part in _SEGMENT.findall(self.text.replace("-", ".pre."))
        )

    def release(self) -> Version:
        """The release of a prerelease: 3.1.0 for 3.1.0.rc1."""
        return self._of(self._numbers()) if self._prerelease() else self

    def bump(self) -> Version:
        """The first version that ``~>`` excludes: 3.2 for 3.1.2, 4 for 3.1, and 4 for 3."""
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
        """The segments without insignificant zeros: those before the first letter, and at the end."""
        split = len(self._numbers())
        return _trimmed(self.segments[:split]) + _trimmed(self.segments[split:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._canonical() == other._canonical()

    def __lt__(self, other: Version) -> bool:
        for left, right in zip_longest(self._canonical(), other._canonical(), fillvalue=0):
            if left != right:
                return _rank(left) < _rank(right)
        return False

    def __hash__(self) -> int:
        return hash(self._canonical())

    def __repr__(self) -> str:
        return f"Version({self.text!r})"


def satisfies(version: str, requirement: str) -> bool:
    """Whether ``version`` satisfies ``requirement``. Raises ValueError if either is malformed."""
    found = Version(version)
    return all(_meets(found, operator, wanted) for operator, wanted in parse(requirement))


def parse(requirement: str) -> tuple[tuple[str, Version], ...]:
    """The operators and versions of a requirement. Raises ValueError if it is malformed."""
    parts = []
    for part in requirement.split(","):
        match = _REQUIREMENT.fullmatch(part)
        if match is None:
            raise ValueError(
                f"invalid version requirement {requirement!r}, "
                "expected '>= 3.1', '~> 3.1' or '>= 3.1, < 4' (operators: = != > < >= <= ~>)"
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
    """The sort key. Letters sort before numbers, and a missing segment is 0: 3.1.a < 3.1 = 3.1.0."""
    return (0, 0, segment) if isinstance(segment, str) else (1, segment, "")
