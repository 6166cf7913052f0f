"""The typer application: registers every command and turns errors into exit codes in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from infra import __version__
from infra.cli import (
    apply,
    command_line,
    completion,
    config,
    destroy,
    doctor,
    drift,
    help,
    history,
    init,
    lab,
    lock,
    logs,
    maintenance,
    plan,
    preview,
    ps,
    releases,
    restart,
    scale,
    schema,
    show,
    sudoers,
    top,
    validate,
)
from infra.cli import (
    run as run_command,
)

app = typer.Typer(
    name="dynoctl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help takes three times as long to start
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"dynoctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit")
    ] = False,
) -> None:
    """Run Rack apps as dynos on servers you own: plan, apply and destroy over SSH from one dyno.yaml."""


init.register(app)
validate.register(app)
config.register(app)
plan.register(app)
show.register(app)
drift.register(app)
apply.register(app)
destroy.register(app)
scale.register(app)
restart.register(app)
run_command.register(app)
releases.register(app)
schema.register(app)
doctor.register(app)
sudoers.register(app)
completion.register(app)
ps.register(app)
logs.register(app)
top.register(app)
history.register(app)
maintenance.register(app)
app.add_typer(preview.app, name="preview")
app.add_typer(lock.app, name="lock")
app.add_typer(lab.app, name="lab")
help.register(app)


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code. Never raises and never prints a traceback."""
    from infra.cli import streams
    from infra.cli.fail import INTERRUPTED, report, report_signals, streams_json

    streams.prepare()
    report_signals(argv)
    try:
        completion.prepare()
        root = typer.main.get_command(app)
        argv = command_line.read(root, argv)
        code = root(args=list(argv), prog_name="dynoctl", standalone_mode=False)
        if code == INTERRUPTED and streams_json(argv):  # typer makes this of a KeyboardInterrupt
            raise KeyboardInterrupt
    except BaseException as error:  # the outermost boundary: users must never see a traceback
        code = report(error, argv)
    return streams.finish(code if isinstance(code, int) else 0)
