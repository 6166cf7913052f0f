"""What happens during an apply, as values that a view may print, draw or write as JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from infra.model.resource import Change

HERE = "here"
"""The name of the local machine in events and failures, in place of a server's."""

Kind = Literal["phase", "batch", "step", "upload", "wait", "done", "failed", "skipped", "note"]


@dataclass(frozen=True)
class Event:
    """One thing that happened. ``text`` is for people; ``total`` in a phase is the number of groups in it, and in a
    batch the number of batches, of which it is ``number``. ``seconds`` is the time limit of a step, or how long a wait
    takes."""

    kind: Kind
    server: str = ""
    subject: str = ""
    text: str = ""
    total: int = 0
    number: int = 0
    seconds: float = 0


Listener = Callable[[Event], None]


def steady(listener: Listener) -> Listener:
    """The same listener, for work that continues if its output fails: the reader of a pipe exited, a disk is full."""

    def tell(event: Event) -> None:
        with suppress(OSError, ValueError):  # a closed or a misconfigured stream raises ValueError
            listener(event)

    return tell


@dataclass(frozen=True)
class Failure:
    """One failure: the server, the dyno or resource, the error, and the last lines that explain it."""

    server: str
    subject: str
    summary: str
    detail: str = ""
    unreachable: bool = False
    rejected: bool = False
    """Whether the release was rejected before any dyno moved."""


@dataclass
class Report:
    """How an apply ended: exactly which changes were made, which failed and which were not begun."""

    done: list[Change] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: list[Change] = field(default_factory=list)
    halted: bool = False
    """Whether a dyno did not become healthy, so that no further dyno was restarted and nothing was removed."""
    interrupted: bool = False
    reverted: list[str] = field(default_factory=list)
    """The dynos that run again what they ran before, because the rollout failed."""
    stranded: list[str] = field(default_factory=list)
    """The dynos that could not be reverted, with their servers."""
    tolerated: list[str] = field(default_factory=list)
    """The dynos that failed, as far as ``rollout.max_failures`` allows it."""
    without: list[str] = field(default_factory=list)
    """The servers that could not take the release, as far as ``rollout.max_failures`` allows it."""
    absent: list[str] = field(default_factory=list)
    """The servers that were lost during the rollout, as far as ``rollout.max_failures`` allows it."""
    by_ssh: dict[str, str] = field(default_factory=dict)
    """Why the slug was sent over SSH to servers that should have pulled it, by server; ``here``: to all of them."""
    release_output: str = ""
    """What the release command printed."""
    seconds: float = 0
    """How long it took, in tenths, as in the audit log."""

    @property
    def rejected(self) -> bool:
        """Whether the release was refused before any dyno moved."""
        return any(failure.rejected for failure in self.failures)

    @property
    def fully_reverted(self) -> bool:
        """Whether the rollout failed, and every dyno that had moved was reverted."""
        return bool(self.reverted) and not self.stranded

    @property
    def stands(self) -> bool:
        """Whether the rollout succeeded, except for dynos that may fail."""
        failed = [failure for failure in self.failures if failure.subject not in self.tolerated]
        excused = all(failure.server in (self.absent if failure.unreachable else self.without) for failure in failed)
        return not self.halted and not self.interrupted and not self.rejected and (self.ok or excused)

    @property
    def ok(self) -> bool:
        return not self.failures and not self.interrupted
