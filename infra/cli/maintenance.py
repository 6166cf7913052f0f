"""``dynoctl maintenance``: switch maintenance mode on or off at the routers."""

from __future__ import annotations

import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.fail import complain
from infra.cli.interrupt import interruptible
from infra.cli.options import AsJson, Destination, File, LockTimeout
from infra.errors import ERROR, UNREACHABLE, DynoctlError, Unreachable


class Switch(StrEnum):
    """Whether the routers show the maintenance page or the app."""

    ON = "on"
    OFF = "off"


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("maintenance", short_help="Show a maintenance page instead of the app.")(maintenance)


def maintenance(
    switch: Annotated[
        Switch,
        typer.Argument(help="on shows the maintenance page, off the app; dynoctl ps shows which", metavar="on|off"),
    ],
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="HTML file to show", show_default="a plain page", metavar="FILE")
    ] = None,
    lock_timeout: LockTimeout = None,
    as_json: AsJson = False,
) -> None:
    """Show a page with status 503 instead of the app on all its routers. The dynos keep running."""
    from infra import manifest
    from infra.model.ranges import ranges
    from infra.ops import maintenance as switching
    from infra.registry import Everything
    from infra.state import last_applied
    from infra.views import outcome
    from infra.views.progress import progress

    if switch is Switch.OFF and page is not None:
        raise DynoctlError("--page cannot be combined with off", "to show the app again: dynoctl maintenance off")
    model = manifest.read(file, destination)
    kind = "" if model.router is None else model.router.kind
    text = switching.read_page(page, kind) if switch is Switch.ON else None

    stop = threading.Event()
    with progress({}) as listener, interruptible(stop, listener.interrupted, as_json=False):
        answers = switching.switch(
            model,
            Everything(),
            text,
            lock_timeout=lock_timeout,
            listener=listener,
            stop=stop,
            history=last_applied.read(model).get(model.app.name, {}),
        )
    failed = {name: error for name, error in answers.items() if error is not None}
    done = sorted(name for name in answers if name not in failed)
    if as_json:
        from infra.views import json_text

        errors = {name: error.summary for name, error in failed.items()}
        document = {"format_version": 1, "maintenance": switch.value, "servers": done, "failed": errors}
        typer.echo(json_text.indented(document))
    else:
        for error in failed.values():
            complain(error.summary, error.hint)
        if done:
            others = f", and NOT SWITCHED on {ranges(sorted(failed))}" if failed else ""
            end = " To end it: dynoctl maintenance off" if switch is Switch.ON else f" {outcome.router_address(model)}"
            typer.echo(f"Maintenance mode is {switch.value} ({ranges(done)}){others}.{end}".rstrip())
    if failed:
        raise typer.Exit(UNREACHABLE if all(isinstance(error, Unreachable) for error in failed.values()) else ERROR)
