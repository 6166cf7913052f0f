"""What a command was told to do, as the audit log has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Invocation:
    """The name of a command, such as ``scale`` or ``preview up``, and what it was told, such as ``web=3``: names and
    counts, never the value of a variable. Without a ``command``, it is what the plan is: apply, rollback or destroy."""

    command: str = ""
    arguments: tuple[str, ...] = ()


BY_PLAN = Invocation()
