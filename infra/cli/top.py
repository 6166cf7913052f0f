"""``dynoctl top``: a live view of servers and dynos."""

from __future__ import annotations

import os
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
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import durations
from infra.cli.options import AsJson, Destination, File
from infra.errors import UNREACHABLE

if TYPE_CHECKING:
    from infra.ops.monitor import Monitor

ONCE = 1.0
"""Seconds between the two samples of ``--once``."""

PATIENCE = 30
"""Seconds that ``--once`` waits for slow servers."""


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
    once: Annotated[bool, typer.Option("--once", help="Print one table and exit")] = False,
    as_json: AsJson = False,
) -> None:
    """Show servers with load, memory and free capacity, and dynos with CPU, memory, waiting connections and restarts,
    live. Press q to quit."""
    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.ops.monitor import Monitor
    from infra.registry import Everything
    from infra.views.style import wanted

    model = manifest.read(file, destination)
    single = once or as_json or not sys.stdout.isatty()
    routers = () if model.router is None else model.router.servers
    monitor = Monitor(model.app.name, Everything.processes, targets(model), ONCE if single else interval, routers)
    with monitor:
        if not single:
            _live(model.app.name, monitor, color=wanted(sys.stdout))
            return
        _wait_for_two_samples(monitor)
        samples = monitor.last_samples()
    from infra.views import top as view

    if as_json:
        from infra.views import json_text

        typer.echo(json_text.indented(view.document(samples)))
    else:
        from infra.views.gate import console

        terminal = console(width=200, color_system="256" if wanted(sys.stdout) else None, force_terminal=True)
        typer.echo(view.plain(model.app.name, samples, datetime.now(), terminal))
    unreachable = [sample for sample in samples if sample.unreachable or sample.vitals is None]
    for sample in unreachable:
        typer.echo(f"error: {sample.unreachable or f'{sample.server}: timed out after {PATIENCE} s'}", err=True)
    if unreachable:
        raise typer.Exit(UNREACHABLE)


def _wait_for_two_samples(monitor: Monitor) -> None:
    """Wait until every server has been sampled twice or is unreachable."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not all(
        sample.samples > 1 or sample.unreachable for sample in monitor.last_samples()
    ):
        time.sleep(0.02)


def _live(app: str, monitor: Monitor, *, color: bool) -> None:
    from rich.live import Live

    from infra.views.gate import behind, console
    from infra.views.top import screen

    terminal = console(file=behind(sys.stdout), color_system="auto" if color else None)
    try:
        with _keys() as keys, Live(console=terminal, screen=True, auto_refresh=False) as live:
            while True:
                live.update(
                    screen(app, monitor.last_samples(), datetime.now(), terminal.width, terminal.height), refresh=True
                )
                if keys(0.5) in ("q", "Q"):
                    return
    except KeyboardInterrupt:
        return


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits up to a number of seconds for a key. The terminal is restored at the end, even if a signal
    ends the process."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    file = sys.stdin.fileno() if sys.stdin.isatty() else None
    settings = None if file is None else termios.tcgetattr(file)

    def key(seconds: float) -> str:
        if file is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([file], [], [], seconds)
        return os.read(file, 1).decode(errors="replace") if ready else ""

    try:
        if file is not None:
            tty.setcbreak(file)
        yield key
    finally:
        if file is not None and settings is not None:
            termios.tcsetattr(file, termios.TCSADRAIN, settings)
        for number, handler in previous.items():
            signal.signal(number, handler)
