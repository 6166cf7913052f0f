"""``dynoctl top``: a live view of servers and dynos."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from infra.cli import durations, fail
from infra.cli.options import AsJson, Destination, File
from infra.errors import UNREACHABLE

if TYPE_CHECKING:
    from infra.manifest.model import Manifest
    from infra.ops.monitor import Monitor

ONCE = 1.0
"""Seconds between the two samples of ``--once``."""

PATIENCE = 30
"""Seconds that ``--once`` waits for slow servers."""


Sort = Literal["dyno", "cpu", "memory", "requests", "p95"]

SORT_KEYS: dict[str, Sort] = {"n": "dyno", "c": "cpu", "m": "memory", "r": "requests", "p": "p95"}

LINE_KEYS = {"\x1b[A": -1, "\x1bOA": -1, "k": -1, "\x1b[B": 1, "\x1bOB": 1, "j": 1}
"""By key, the lines by which the dynos move: arrows, in both modes of terminals, and those of less."""

KEY = re.compile(r"[^\x1b]|\x1b[^\[O]|\x1b(\[|O)[0-9;]{0,6}[^0-9;]|\x1b.{7}", re.DOTALL)
"""A key as a terminal sends it: a character, or a sequence of several."""

SCROLL_KEYS = {**LINE_KEYS, "\x1b[5~": -1, "b": -1, "\x1b[6~": 1, " ": 1}
"""The same, and the keys that move half a screen."""


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("top", short_help="Show a live view of servers and dynos.")(top)


def top(
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    interval: Annotated[
        float,
        typer.Option(
            "--interval",
            "-i",
            parser=durations.option("--interval", 0.5, 60),
            help="Time between samples, such as 5s",
            metavar="TIME",
            show_default="2s",
        ),
    ] = 2.0,
    sort: Annotated[Sort, typer.Option(help="Order of the dynos: by name, or the largest first")] = "dyno",
    once: Annotated[bool, typer.Option("--once", help="Print one table and exit")] = False,
    as_json: AsJson = False,
) -> None:
    """Show live whether the app is up and what is wrong, servers with load, memory and free capacity, and dynos with
    CPU, memory, requests of the last minute, waiting connections and restarts. Press n, c, m, r or p to sort, arrows to
    scroll, and q to quit."""
    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.ops.monitor import Monitor
    from infra.registry import Everything
    from infra.views.style import wanted

    model = manifest.read(file, destination)
    single = once or as_json or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb"
    monitor = Monitor(model.app.name, Everything.processes, targets(model), ONCE if single else interval)
    with monitor:
        if not single:
            _live(model, monitor, sort, color=wanted(sys.stdout))
            return
        _wait_for_two_samples(monitor)
        samples = monitor.last_samples()
    from infra.views import top as view

    if as_json:
        from infra.views import json_text

        typer.echo(json_text.indented(view.document(model, samples, sort)))
    else:
        from infra.views.gate import console
        from infra.views.wrapping import columns

        width = columns(sys.stdout)
        terminal = console(width=width or 200, color_system="256" if wanted(sys.stdout) else None, force_terminal=True)
        typer.echo(view.plain(model, samples, datetime.now(), terminal, sort, width=width))
    unreachable = [sample for sample in samples if sample.unreachable or sample.vitals is None]
    for sample in unreachable:
        fail.complain(sample.unreachable or f"{sample.server}: timed out after {PATIENCE} s")
    if unreachable:
        raise typer.Exit(UNREACHABLE)


def _wait_for_two_samples(monitor: Monitor) -> None:
    """Wait until every server has been sampled twice or is unreachable."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not all(
        sample.samples > 1 or sample.unreachable for sample in monitor.last_samples()
    ):
        time.sleep(0.02)


def _live(manifest: Manifest, monitor: Monitor, sort: Sort, *, color: bool) -> None:
    from rich.live import Live

    from infra.views.gate import behind, console
    from infra.views.top import screen

    terminal = console(file=behind(sys.stdout), color_system="auto" if color else None)
    offset = 0
    try:
        with _keys() as keys, Live(console=terminal, screen=True, auto_refresh=False) as live:
            while True:
                size = (terminal.width, terminal.height)
                shown, offset = screen(manifest, monitor.last_samples(), datetime.now(), size, (sort, offset))
                live.update(shown, refresh=True)
                key = keys(0.5)
                if key in ("q", "Q"):
                    return
                sort = SORT_KEYS.get(key, sort)
                offset += SCROLL_KEYS.get(key, 0) * (1 if key in LINE_KEYS else terminal.height // 2)
    except KeyboardInterrupt:
        return


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits up to a number of seconds for a key. The terminal is restored at the end, even if a signal
    ends the process, and while one stops it."""

    from infra.views.gate import switch_screen

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    def stop(number: int, _: object) -> None:
        if file is None or settings is None:
            return
        switch_screen(own=False)
        termios.tcsetattr(file, termios.TCSADRAIN, settings)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, stop)
        tty.setcbreak(file)
        switch_screen(own=True)

    ends = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    previous = {number: signal.signal(number, end) for number in ends}
    file = sys.stdin.fileno() if sys.stdin.isatty() else None
    settings = None if file is None else termios.tcgetattr(file)

    def key(seconds: float) -> str:
        if file is None:
            time.sleep(seconds)
            return ""
        text = ""
        while not KEY.fullmatch(text) and select.select([file], [], [], 0 if text else seconds)[0]:
            text += os.read(file, 1).decode(errors="replace") or "q"  # the end of the input
        return text

    try:
        if file is not None:
            previous[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, stop)
            tty.setcbreak(file)
        yield key
    finally:
        if file is not None and settings is not None:
            termios.tcsetattr(file, termios.TCSADRAIN, settings)
        for number, handler in previous.items():
            signal.signal(number, handler)
