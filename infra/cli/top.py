"""``dynoctl top``: the fleet as it works, live."""

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

from infra.cli.options import AsJson, Destination, File
from infra.errors import UNREACHABLE

if TYPE_CHECKING:
    from infra.ops.monitor import Watch

ONCE = 1.0
"""Seconds between the two samples of a single look."""

PATIENCE = 30
"""Seconds that a single look waits for servers that are slow."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("top", short_help="The fleet as it works, live.")(top)


def top(
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.5, max=60, help="Seconds between two samples.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one table and exit.")] = False,
    as_json: AsJson = False,
) -> None:
    """Servers with load, memory and free places; dynos with CPU, memory, waiting connections, restarts. q quits."""
    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.ops.monitor import Watch
    from infra.registry import Everything
    from infra.views.style import wanted

    model = manifest.read(file, destination)
    single = once or as_json or not sys.stdout.isatty()
    watch = Watch(model.app.name, Everything.processes, targets(model), ONCE if single else interval)
    with watch:
        if not single:
            _live(model.app.name, watch, color=wanted(sys.stdout))
            return
        _both(watch)
        seen = watch.seen()
    from infra.views import top as view

    if as_json:
        import json

        typer.echo(json.dumps(view.document(seen), indent=2))
    else:
        from rich.console import Console

        console = Console(width=200, color_system="256" if wanted(sys.stdout) else None, force_terminal=True)
        typer.echo(view.plain(model.app.name, seen, datetime.now(), console))
    lost = [one for one in seen if one.away or one.vitals is None]
    for one in lost:
        typer.echo(f"Unreachable: {one.away or f'{one.server}: no answer within {PATIENCE} s'}", err=True)
    if lost:
        raise typer.Exit(UNREACHABLE)


def _both(watch: Watch) -> None:
    """Wait until each server was seen twice, or is away."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not all(one.samples > 1 or one.away for one in watch.seen()):
        time.sleep(0.02)


def _live(app: str, watch: Watch, *, color: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from infra.views.top import screen

    console = Console(color_system="auto" if color else None)
    try:
        with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(screen(app, watch.seen(), datetime.now(), console.width, console.height), refresh=True)
                if keys(0.5) in ("q", "Q"):
                    return
    except KeyboardInterrupt:
        return


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for a key, at most so many seconds. The terminal is as it was afterwards, also where
    somebody ends the process."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    old = {one: signal.signal(one, end) for one in (signal.SIGTERM, signal.SIGHUP)}
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
        for one, handler in old.items():
            signal.signal(one, handler)
