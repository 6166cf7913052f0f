"""The typer application: registers the commands and turns errors into exit codes in one place."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from infra import __version__
from infra.cli import grouped_help
from infra.errors import DynoctlError

MODULES = (
    "init",
    "validate",
    "config",
    "plan",
    "show",
    "drift",
    "apply",
    "destroy",
    "scale",
    "rebalance",
    "restart",
    "run",
    "releases",
    "schema",
    "doctor",
    "sudoers",
    "completion",
    "ps",
    "logs",
    "top",
    "history",
    "maintenance",
    "preview",
    "lock",
    "lab",
    "help",
)
"""The modules of the commands, in the order of the help. Most have the name of their command."""

OTHERS = {"rollback": "releases", "version": "help"}
"""The modules of the other commands."""


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"dynoctl {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit")
    ] = False,
) -> None:
    """Run Rack apps as dynos on servers you own: plan, apply and destroy over SSH from one dyno.yaml."""


def commands(modules: Sequence[str] = MODULES) -> typer.Typer:
    """The application with the commands of some modules. To build all of them takes an eighth of the CPU time of
    ``validate``."""
    found = typer.Typer(
        name="dynoctl",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich help takes three times as long to start
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    found.callback()(root)
    for name in modules:
        importlib.import_module(f"infra.cli.{name}").register(found)
    grouped_help.use(found)
    return found


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    return commands()


def _needed(argv: Sequence[str]) -> Sequence[str]:
    """The modules that a command line needs."""
    from infra.cli.completion import VARIABLE

    word = argv[0] if argv else ""
    name = OTHERS.get(word, word)
    return (name,) if name in MODULES and word != "help" and VARIABLE not in os.environ else MODULES


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code. Never raises and never prints a traceback."""
    from infra.cli import command_line, completion, streams
    from infra.cli.fail import INTERRUPTED, report, report_signals, streams_json

    streams.prepare()
    report_signals(argv)
    try:
        completion.prepare()
        root = typer.main.get_command(commands(_needed(argv)))
        try:
            argv = command_line.read(root, argv)
        except DynoctlError:  # its hint names other commands
            argv = command_line.read(typer.main.get_command(commands()), argv)
        code = root(args=list(argv), prog_name="dynoctl", standalone_mode=False)
        if code == INTERRUPTED and streams_json(argv):  # typer makes this of a KeyboardInterrupt
            raise KeyboardInterrupt
    except BaseException as error:  # the outermost boundary: users must never see a traceback
        code = report(error, argv)
    return streams.finish(code if isinstance(code, int) else 0)
