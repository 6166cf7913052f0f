"""A finding of doctor: the result of one check, and how to fix what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from infra.errors import Diagnostic

Result = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """The result of one check on one server. ``message`` is what was found, ``hint`` how to fix it if it is not ok."""

    server: str
    check: str
    result: Result
    message: str
    hint: str = ""


def from_problems(name: str, check: str, problems: Sequence[Diagnostic], well: str) -> Iterator[Finding]:
    """A finding for each problem, or one that says ``well``."""
    if not problems:
        yield Finding(name, check, "ok", well)
    for problem in problems:
        yield Finding(name, check, "failed", problem.summary.removeprefix(f"{name}: "), hint_of(problem))


def hint_of(problem: Diagnostic) -> str:
    """How to fix a problem."""
    return problem.hint or problem.expected
