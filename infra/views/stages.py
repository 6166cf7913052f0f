"""The stages of an apply, from its events: what is finished, what is under way, and for how long."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from infra.model import naming
from infra.model.events import Event
from infra.model.ranges import ranges
from infra.model.text import quantity
from infra.views.style import Style, clean, duration, one_line

NAME = 15
"""The width of the name of a stage, such as ``batch 12 of 40``."""

LIST = 48
"""Characters of a list of names; a longer one is a number."""

LONG = 2.0
"""Seconds after which a step says how long it may take, and a lock has a line."""

STILL = 30
"""Seconds after which a stage that takes long has a line of its own where nothing can be redrawn."""

LINES = 40
"""Batches that have a line each; of more, ``LINES`` lines at most sum up as many batches each."""

SLOWEST = 5
"""Servers that are named if not all of them fit."""

_DYNO = re.compile(r"[a-z][a-z0-9]*\.[0-9]+")
_COMPLETED = ("build", "revert", "clean up")
"""The stages that are completed although the apply was interrupted."""


@dataclass
class Stage:
    """A phase, or a batch of the rollout."""

    name: str
    began: float
    total: int = 0
    number: int = 0
    """The number of the batch, of ``total``; 0 for other stages."""
    first: int = 0
    """The number of the first batch that is summed up in its line."""
    since: float = 0
    """When the batch began; ``began`` is that of the first one."""
    dynos: str = ""
    """The dynos of the batch."""
    begun: bool = False
    """Whether anything was done or tried in it."""
    done: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """By what was done, the server and the subject of each change."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    wait: tuple[float, float] | None = None
    """When a wait began, and how many seconds it takes."""

    @property
    def label(self) -> str:
        """Its name in its line, such as ``batch 12 of 40`` or ``batch 1-25 of 1000``."""
        return f"batch {self.first}-{self.number} of {self.total}" if self.first < self.number else self.name

    def goes_on(self, event: Event) -> bool:
        """Whether a batch that begins is summed up with this one, of which none failed."""
        many = self.number and event.kind == "batch" and event.total > LINES and not self.name.startswith("canary")
        return bool(many) and not self.failed and event.number - self.first < -(-event.total // LINES)


@dataclass
class Progress:
    """The progress on a server: its changes, and the current step with its begin and its time limit in seconds."""

    planned: frozenset[str] = frozenset()
    finished: set[str] = field(default_factory=set)
    failed: bool = False
    step: str = ""
    since: float = 0
    limit: float = 0

    @property
    def count(self) -> int:
        return len(self.finished & self.planned)

    def words(self, now: float, width: int | None = None) -> str:
        """The current step; a long one with its time, as in ``restart web.3: 24 s of at most 60 s``. If that is more
        than ``width`` columns, the step is cut, not the time."""
        taken = now - self.since
        time = f": {taken:.0f} s" + (f" of at most {self.limit:.0f} s" if self.limit else "")
        if not self.step or taken < LONG:
            time = ""
        room = len(self.step) if width is None else max(1, width - len(time))
        return (self.step if len(self.step) <= room else f"{self.step[: room - 1]}…") + time


class Stages:
    """Thread-safe. ``planned`` are the subjects of the changes of each server, by name."""

    def __init__(
        self,
        planned: Mapping[str, Collection[str]] | None = None,
        style: Style | None = None,
        *,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = {name: Progress(frozenset(subjects)) for name, subjects in (planned or {}).items()}
        self._style = style or Style(False)
        self._verbose = verbose
        self._clock = clock
        self._stage: Stage | None = None
        self._batches: list[float] = []
        self._causes: set[str] = set()
        self._mutex = threading.Lock()

    def take(self, event: Event) -> list[str]:
        """Note an event; returns the lines that are finished by it."""
        with self._mutex:
            return [clean(line) for line in self._take(event)]

    def end(self) -> list[str]:
        """The line of the last stage."""
        with self._mutex:
            return [clean(line) for line in self._close()]

    def _take(self, event: Event) -> list[str]:
        now, stage = self._clock(), self._stage
        if stage is not None and stage.goes_on(event) and not self._verbose:
            self._batches.append(now - stage.since)
            stage.name, stage.number, stage.since = f"batch {event.number} of {event.total}", event.number, now
            stage.dynos, stage.wait = _names(event.text.split(", "), "dyno"), None
            return []
        if event.kind in ("phase", "batch"):
            lines = self._close()
            canary = stage is not None and stage.name == "canary"
            dynos = _names(event.text.split(", "), "dyno") if event.kind == "batch" else ""
            batch = f"{'canary' if canary else 'batch'} {event.number} of {event.total}"
            name = batch if event.kind == "batch" else event.text
            self._stage = Stage(name, now, event.total, event.number, event.number, now, dynos)
            return lines
        if event.kind == "note":
            return [f"{event.server}  {event.text}".strip()]
        if stage is None:
            stage = self._stage = Stage("apply", now)
        stage.begun |= event.kind != "skipped"
        if event.kind == "wait":
            stage.wait = (now, event.seconds)
            return []
        row = self._servers.setdefault(event.server, Progress())
        if event.kind in ("step", "upload"):
            subject = event.subject.partition("@")[0]  # without the digest
            text = event.text if subject in event.text else f"{subject}: {event.text}"
            row.step, row.since, row.limit = text, now, event.seconds
            return []
        row.step = ""
        if event.kind == "skipped":
            return []
        row.finished.add(event.subject)
        place = (event.server, event.subject)
        if event.kind == "done":
            stage.done.setdefault(event.text, []).append(place)
            return [f"  {event.server}  {event.subject} {event.text}"] if self._verbose else []
        if event.kind != "failed":
            return []
        row.failed = True
        stage.failed.append(place)
        cause = event.text.removeprefix(f"{event.server}: ")
        if cause in self._causes:
            return []
        self._causes.add(cause)
        return [f"{self._style('red', '✗')} {event.server}  {event.subject}: {cause}"]

    def _close(self) -> list[str]:
        """The line of the stage that ends now, if anything happened in it."""
        stage, self._stage = self._stage, None
        taken = 0.0 if stage is None else self._clock() - stage.began
        if stage is None or not (stage.begun or (stage.name == "lock" and taken >= LONG)):
            return []
        if stage.number and not stage.failed:
            self._batches.append(self._clock() - stage.since)
        words = "; ".join(self._words(stage)) or (quantity(stage.total, "server") if stage.name == "lock" else "")
        mark = self._style("red", "✗") if stage.failed else self._style("green", "✓")
        return [f"{mark} {stage.label:<{NAME}} {duration(taken):>7}  {words}".rstrip()]

    def _words(self, stage: Stage) -> list[str]:
        """What was done in a stage, alike changes together."""
        words = []
        if stage.failed:
            others = [place for place in stage.failed if place[1] != stage.name]
            subjects = f": {_names([subject for _, subject in others], 'dyno')} on {_servers(others)}" if others else ""
            words.append(self._style("red", f"FAILED{subjects}"))
        for verb, places in stage.done.items():
            dynos = [subject for _, subject in places if _DYNO.fullmatch(subject)]
            others = [place for place in places if not _DYNO.fullmatch(place[1])]
            if dynos:
                words.append(f"{_names(sorted(dynos, key=naming.dyno_order), 'dyno')} {verb}")
            if others and others[0][1] == stage.name:  # a candidate, the release command
                words.append(f"{verb} on {_servers(others)}")
            elif others:
                words.append(f"{quantity(len(others), 'change')} on {_servers(others)}")
        return words

    def heading(self) -> tuple[str, str]:
        """The name of the current stage, and how long it takes; "" if there is none."""
        with self._mutex:
            stage, now = self._stage, self._clock()
            if stage is None:
                return "", ""
            began = stage.since if stage.number else stage.began
            words = [*([stage.dynos] if stage.dynos else []), duration(now - began)]
            if stage.wait is not None:
                waiting, seconds = stage.wait
                words.append(f"staying healthy: {now - waiting:.0f} s of {seconds:.0f} s")
            if stage.number and self._batches:
                mean = sum(self._batches) / len(self._batches)
                left = mean * (stage.total - stage.number + 1) - (now - stage.since)
                if left >= 1:
                    words.append(f"about {_estimate(left)} left")
            return stage.name, "  ".join(words)

    def servers(self, most: int) -> tuple[str, list[tuple[str, Progress]]]:
        """The servers on which something is or was done, at most ``most``. If there are more, a line that sums all of
        them up, and those whose step takes longest."""
        with self._mutex:
            rows = sorted((name, row) for name, row in self._servers.items() if name and (row.planned or row.step))
            if len(rows) <= most:
                return "", rows
            whole = sum(row.count >= len(row.planned) for _, row in rows)
            count, total = sum(row.count for _, row in rows), sum(len(row.planned) for _, row in rows)
            busy = sorted((row.since, name, row) for name, row in rows if row.step)
            text = f"{whole} of {quantity(len(rows), 'server')} done, {count} of {quantity(total, 'change')}"
            return text + (", slowest:" if busy else ""), [
                (name, row) for _, name, row in busy[: min(most - 1, SLOWEST)]
            ]

    def still(self) -> str:
        """A line about the current stage if it takes long, with the step that takes longest."""
        stage = self._stage  # another thread may end it meanwhile
        if stage is None or self._clock() - stage.began < STILL:
            return ""
        name, times = self.heading()
        _, rows = self.servers(2)
        now = self._clock()
        busy = sorted((row.since, f"{server}  {one_line(row.words(now))}") for server, row in rows if row.step)
        return "  ".join([f"  {name:<{NAME}} {times}", *(words for _, words in busy[:1])]) if name else ""

    def stopping(self) -> str:
        """What is still done after an interrupt, as sentences."""
        with self._mutex:
            stage, now = self._stage, self._clock()
            busy = [(name, row) for name, row in sorted(self._servers.items()) if row.step]
        if stage is not None and stage.name in _COMPLETED:
            return f"Interrupted: the {stage.name} is completed first; nothing else is started."
        if not busy:
            return "Interrupted: no step is running, and none is started."
        steps = ", ".join(f"{row.step} on {name}" for name, row in busy[:2])
        if len(busy) > 2:
            steps = f"the current steps on {quantity(len(busy), 'server')}"
        limit = max((row.limit - (now - row.since) for _, row in busy if row.limit), default=0)
        most = f" (at most {max(limit, 1):.0f} s)" if limit else ""
        return one_line(f"Interrupted: finishing {steps}{most}, and what belongs to it; nothing else is started.")


def _estimate(seconds: float) -> str:
    """A time that is only guessed: ``36 s``, ``3m 20s``, ``33m``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return duration(float(round(seconds, -1))) if seconds < 600 else duration(seconds).rpartition(" ")[0]


def _names(names: Sequence[str], noun: str) -> str:
    text = ranges(dict.fromkeys(names))
    return text if len(text) <= LIST else quantity(len(names), noun)


def _servers(places: Sequence[tuple[str, str]]) -> str:
    return _names(sorted({server for server, _ in places}), "server")
