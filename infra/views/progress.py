"""The progress of a command that changes servers: a line per finished stage, and below them what is under way."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING

from infra.model.events import Event
from infra.remote import identities, parallel
from infra.remote.echo import Echo
from infra.views.stages import STILL, Stages
from infra.views.style import Style, duration, one_line, wanted
from infra.views.wrapping import wrapped

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

HARDER = "Press Ctrl-C again to exit at once; a step that is running may then still finish on its server."

LEAVE = "Interrupted. Press Ctrl-C again to exit at once."

MOMENT = 0.4
"""Seconds after which it is shown what is waited for."""

BAR = 16
"""The width of the bar of a server; half of it on a terminal that is not ``WIDE``."""

WIDE = 100

MOST = 16
"""Servers that have a line each at the same time."""


class PlainProgress:
    """A line on stderr per finished stage, and some about one that takes long."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._ended = threading.Event()

    def __enter__(self) -> PlainProgress:
        threading.Thread(target=self._remind, daemon=True, name="progress").start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._ended.set()
        with suppress(OSError, ValueError):  # the report is still to come
            self._print(self._stages.end() if kind is None else [])

    def __call__(self, event: Event) -> None:
        self._print(self._stages.take(event))

    def interrupted(self) -> None:
        """Say what is still done."""
        self._print([self._stages.stopping(), HARDER])

    def _remind(self) -> None:
        while not self._ended.wait(STILL / 2):
            with suppress(OSError, ValueError):
                self._print([line] if (line := self._stages.still()) else [])

    def _print(self, lines: list[str]) -> None:
        if lines:
            sys.stderr.write("\n".join([*lines, ""]))
            sys.stderr.flush()


class LiveProgress:
    """On a terminal: the lines of finished stages, and below them the current one with a bar per server."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._live: Live | None = None
        self._stopping = ""
        self._echo = Echo()
        self._spinner, self._full, self._empty = _symbols()

    def __enter__(self) -> LiveProgress:
        from rich.live import Live

        from infra.views.gate import behind, console

        terminal = console(hides_cursor=False, file=behind(sys.stderr))
        self._live = Live(get_renderable=self._screen, console=terminal, refresh_per_second=8, transient=True)
        self._live.start()
        self._echo.off()
        identities.alone.append(self._stopped)
        return self

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        live = self._live
        if live is not None:
            live.stop()
        self._echo.pause()
        try:
            yield
        finally:
            if live is not None and self._stopped in identities.alone:
                self._echo.off()
                live.start()

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if self._live is None:
            return
        identities.alone.remove(self._stopped)
        try:
            with suppress(OSError, ValueError):  # the terminal may be gone, and the report is still to come
                self._print(self._stages.end() if kind is None else [])
            with suppress(OSError, ValueError):
                self._live.stop()
        finally:
            self._echo.on()

    def __call__(self, event: Event) -> None:
        self._print(self._stages.take(event))

    def refresh(self) -> None:
        """Draw what is under way now."""
        if self._live is not None:
            self._live.refresh()

    def interrupted(self) -> None:
        """Say what is still done."""
        self._stopping = "stopping after the current step"
        self._print([self._stages.stopping(), HARDER])

    def _print(self, lines: list[str]) -> None:
        from rich.text import Text

        if self._live is not None:
            for line in lines:
                text = wrapped(line, self._live.console.width)
                self._live.console.print(Text.from_ansi(text), soft_wrap=True)

    def _screen(self) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        name, times = self._stages.heading()
        if not name or self._live is None:
            return Text("")
        head = Table.grid(padding=(0, 1))
        spinner = Spinner(self._spinner, style="cyan")
        spinner.start_time = 0
        head.add_row(spinner, Text(name, style="bold"), Text(times), Text(self._stopping, style="bold"))
        summary, rows = self._stages.servers(min(MOST, max(2, self._live.console.height - 6)))
        # A terminal whose echo is on shows ^C behind the last line, which must not wrap.
        table = Table.grid(padding=(0, 1), expand=True)
        table.width = self._live.console.width - 3
        long = BAR if self._live.console.width >= WIDE else BAR // 2
        room = table.width - max((len(server) for server, _ in rows), default=0) - long - 13  # blanks and the count
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        now = time.monotonic()
        for server, row in rows:
            total = len(row.planned)
            full = long * row.count // total if total else 0
            bar = Text(self._full * full, style="red" if row.failed else "green")
            bar.append(self._empty * (long - full), style="dim")
            count = f"{row.count}/{total}"
            table.add_row(Text(f"  {one_line(server)}"), bar, Text(f"{count:>7}"), Text(one_line(row.words(now, room))))
        return Group(head, *([Text(f"  {summary}")] if summary else []), table)


@contextmanager
def status(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A function that says what is waited for. On a terminal it is shown, with the time, if the block takes longer than
    a moment, and removed at its end. What is typed meanwhile is not echoed into it."""
    if quiet or not _redraws():
        yield lambda _: None
        return
    text, began, mutex, ended = "", time.monotonic(), threading.Lock(), False
    live: Live | None = None
    asked, stopping, echo = False, False, Echo()

    def screen() -> RenderableType:
        from rich.spinner import Spinner

        words = f"{one_line(text)}  {duration(time.monotonic() - began)}{'  ' * stopping}{LEAVE * stopping}"
        spinner = Spinner(_symbols()[0], words, style="cyan")
        spinner.start_time = 0
        return spinner

    def show() -> None:
        nonlocal live
        from rich.live import Live

        from infra.views.gate import behind, console

        terminal = console(hides_cursor=False, file=behind(sys.stderr))
        with mutex:
            if not ended and not asked and live is None:
                live = Live(get_renderable=screen, console=terminal, refresh_per_second=8, transient=True)
                live.start()

    def say(words: str) -> None:
        nonlocal text
        text = words

    def stop() -> None:
        nonlocal stopping
        stopping = True

    @contextmanager
    def stopped() -> Iterator[None]:
        nonlocal live, asked
        with mutex:
            asked = True
            if live is not None:
                live.stop()
                live = None
        echo.pause()
        try:
            yield
        finally:
            with mutex:
                asked = False
            if stopped in identities.alone:
                echo.off()
            show()

    timer = threading.Timer(MOMENT, show)
    timer.daemon = True
    identities.alone.append(stopped)
    parallel.interrupted.append(stop)
    try:
        echo.off()  # here, as only the main thread can handle the signals that must turn it on again
        timer.start()
        yield say
    finally:
        identities.alone.remove(stopped)
        parallel.interrupted.remove(stop)
        timer.cancel()
        try:
            with mutex:
                ended = True
                if live is not None:
                    with suppress(OSError, ValueError):
                        live.stop()
        finally:
            echo.on()


def _redraws() -> bool:
    """Whether stderr is a terminal on which lines can be replaced."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _symbols() -> tuple[str, str, str]:
    """The spinner, and the full and the empty part of a bar."""
    return ("dots", "━", "╌") if "utf" in (sys.stderr.encoding or "").lower() else ("line", "#", ".")


def progress(planned: Mapping[str, Collection[str]], *, verbose: bool = False) -> PlainProgress | LiveProgress:
    """The progress view that fits stderr. ``planned`` are the subjects of the changes of each server; with ``verbose``,
    each change has a line."""
    stages = Stages(planned, Style(wanted(sys.stderr)), verbose=verbose)
    return LiveProgress(stages) if _redraws() else PlainProgress(stages)
