"""The processes that a command works with: this one, several of this machine, or those of a Dask cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.grouped_help import FLEETS
from infra.errors import DynoctlError

if TYPE_CHECKING:
    from infra.model.shell import Connect

WORKERS, CONTROLLERS = "DYNOCTL_WORKERS", "DYNOCTL_CONTROLLERS"
"""The environment variables for both options."""

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes to work with; 0 is this one alone",
        metavar="N",
        rich_help_panel=FLEETS,
        show_default="one per core, above 32 servers",
    ),
]
Controllers = Annotated[
    str | None,
    typer.Option(
        "--controllers",
        help="Dask scheduler whose workers connect to the servers",
        metavar="ADDRESS",
        rich_help_panel=FLEETS,
    ),
]


@dataclass(frozen=True)
class ProcessOptions:
    """The options. ``workers`` is a number of processes (None: by the number of servers), ``controllers`` the address
    of a scheduler (None: no cluster)."""

    workers: int | None = None
    controllers: str | None = None

    @classmethod
    def of(cls, workers: int | None, controllers: str | None) -> ProcessOptions:
        """The options of a command line. Raises DynoctlError if they contradict each other, or name no scheduler."""
        if workers is not None and controllers is not None:
            raise DynoctlError("--workers and --controllers cannot be combined", "a scheduler has workers of its own")
        if controllers == "":  # such as of a variable that is not set: not the same as to connect from here
            raise DynoctlError("--controllers is empty", "give it the address of the scheduler, or leave it out")
        return cls(workers, controllers)

    def or_environment(self) -> ProcessOptions:
        """These options, or those of the environment if there are none. Raises DynoctlError if those are invalid."""
        if self.workers is not None or self.controllers is not None:
            return self
        text, controllers = os.environ.get(WORKERS, ""), os.environ.get(CONTROLLERS, "")
        if text and not (text.isascii() and text.isdigit() and len(text) < 5):
            hint = "a number of processes, such as 4; 0 for this one alone"
            raise DynoctlError(f"invalid DYNOCTL_WORKERS: {text[:40]!r}", hint)
        if text and controllers:
            hint = "unset DYNOCTL_WORKERS"
            raise DynoctlError("DYNOCTL_WORKERS and DYNOCTL_CONTROLLERS cannot be combined", hint)
        return ProcessOptions(int(text) if text else None, controllers or None)


BY_DEFAULT = ProcessOptions()


@contextmanager
def working(chosen: ProcessOptions, servers: int, read_only: str = "") -> Iterator[Connect]:
    """What opens sessions in the block, on so many servers; with the name of an app, sessions that may only observe it.

    Raises DynoctlError if the workers cannot be started."""
    from infra.remote import read_only as observing
    from infra.remote import session as ssh
    from infra.remote.active_workers import default, using

    chosen = chosen.or_environment()
    number = default(servers) if chosen.workers is None else min(chosen.workers, servers)
    if not chosen.controllers and not number:
        yield observing.connect(read_only) if read_only else ssh.Session
        return
    if chosen.controllers:
        from infra.remote.controllers import controllers

        workers = controllers(chosen.controllers)
    else:
        from infra.remote.workers import processes

        # What the workers are asked is of these modules.
        modules = sorted(name for name in sys.modules if name.startswith(("infra.fleet.", "providers.")))
        workers = processes(number, modules)
    with using(workers):
        yield workers.connector(read_only)
