"""``dynoctl init``: create a new app with its dyno.yaml, or a dyno.yaml for an existing app."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import DynoctlError


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("init", short_help="Create a new app, or a dyno.yaml for an existing one.")(init)


def init(
    directory: Annotated[
        Path,
        typer.Argument(
            help="Directory of the app; created if it does not exist",
            metavar="DIRECTORY",
            show_default="the current directory",
        ),
    ] = Path(),
    framework: Annotated[
        str | None, typer.Option("--framework", help="Create a new app. One of: rails, sinatra, rack", metavar="NAME")
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Where the app runs today: heroku, kamal, fly, render, capistrano, app.json",
            metavar="NAME",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Output of heroku config --json; - is stdin", metavar="FILE")
    ] = None,
    ps: Annotated[
        Path | None, typer.Option("--ps", help="Output of heroku ps --json; - is stdin", metavar="FILE")
    ] = None,
) -> None:
    """Create a new app with its dyno.yaml. If the directory already holds a Rails, Sinatra or Rack app, only a
    matching dyno.yaml is created, from the files that say how the app runs today: Gemfile, Procfile, config/puma.rb,
    and those of Kamal, Capistrano, Fly.io, Render, Heroku and Dokku. They are read, never run, and no secret of them
    is written to dyno.yaml. What cannot be carried over is noted."""
    from infra.cli import fail
    from infra.ops.init import begin, origin_of
    from infra.registry import Everything
    from infra.views.wrapping import columns, wrapped

    if config is not None and config == ps and str(config) == "-":
        raise DynoctlError("--config and --ps cannot both be stdin", "write one of the outputs to a file")
    everything = Everything()
    texts = [("--config", _text(config)), ("--ps", _text(ps))]
    begun = begin(directory, framework, everything, origin_of(platform, texts, everything))
    for name in begun.files:
        typer.echo(f"+ {directory / name}")
    for note in begun.notes:
        fail.say(f"note: {note}")
    step = "" if directory == Path() else f"cd {directory}, "
    what = "check dyno.yaml" if begun.servers else "add your servers to dyno.yaml"
    next_ = f"Next: {step}{what}, then: dynoctl doctor, dynoctl plan, dynoctl apply."
    typer.echo("\n" + wrapped(next_, columns(sys.stdout)))


def _text(file: Path | None) -> str | None:
    """The text of a file, or of stdin for -. Raises DynoctlError if it cannot be read, or is too large."""
    from infra.ops.init import LARGEST

    if file is None:
        return None
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with file.open("rb") as stream:  # also a pipe: --config <(heroku config --json)
                data = stream.read(LARGEST + 1)
    except OSError as error:
        raise DynoctlError(f"cannot read {file}: {error.strerror}", "name a file that you can read, or -") from None
    if len(data) > LARGEST:
        raise DynoctlError(f"{file} is larger than 1 MiB", "give the output of heroku with --json")
    return data.decode(errors="replace")
