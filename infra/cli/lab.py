"""``dynoctl lab``: a fleet of real servers (systemd, sshd) on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import fail

if TYPE_CHECKING:
    from infra.lab.state import LabState

app = typer.Typer(help="Run a fleet of real servers (systemd, sshd) on this machine.", no_args_is_help=True)


def register(outer: typer.Typer) -> None:
    """Register the commands with ``outer``."""
    outer.add_typer(app, name="lab")


Name = Annotated[str, typer.Option("--name", help="Name of the lab", metavar="NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]
Server = Annotated[str, typer.Argument(help="Server, such as grid-1 or data", show_default=False)]

PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""Everything after the server's name belongs to the command that runs there, options included."""


def _note(text: str) -> None:
    fail.say(text)


@app.command()
def up(
    name: Name = "demo",
    servers: Annotated[
        int, typer.Option("--servers", min=1, max=32, help="Number of servers, not counting data", metavar="N")
    ] = 3,
    bare: Annotated[
        int,
        typer.Option("--bare", min=0, max=8, help="Number of extra servers with only systemd and sshd", metavar="N"),
    ] = 0,
    release: Annotated[
        str,
        typer.Option(
            "--release",
            help="Debian release of new servers; several, as in bookworm,trixie, in turn",
            show_default="that of this machine",
            metavar="NAMES",
        ),
    ] = "",
    install_packages: Annotated[
        bool, typer.Option("--install-packages", help="Install missing Debian packages with apt first")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Boot the servers that do not run yet. Safe to run again."""
    from infra.lab import fleet, needs

    needs.check(install=install_packages)
    try:
        lab = fleet.up(name, servers, _note, bare, [word for word in release.split(",") if word])
    except KeyboardInterrupt:
        _note(f"Interrupted. Run the command again to continue, or remove the lab: dynoctl lab down --name {name}")
        raise
    if as_json:
        _print_json(lab)
        return
    typer.echo((lab.path / "inventory.yaml").read_text(), nl=False)
    _note(f"Lab {name} is up. Add the lines above to a dyno.yaml; they are also in {lab.path}/inventory.yaml.")


@app.command()
def down(
    name: Name = "demo",
    everything: Annotated[bool, typer.Option("--all", help="Take down every lab")] = False,
) -> None:
    """Take the lab down and remove everything that belongs to it."""
    from infra.lab import fleet, needs, state

    needs.root()
    names = state.names() if everything else [name]
    if not names:
        _note("No labs.")
    for lab_name in names:
        removed = fleet.down(lab_name, _note)
        _note(f"Lab {lab_name} is down." if removed else f"No lab called {lab_name}.")


@app.command()
def status(name: Name = "demo", as_json: AsJson = False) -> None:
    """Show the servers of a lab."""
    from infra.lab import fleet, needs
    from infra.lab import status as lab_status

    needs.root()
    lab = fleet.get(name)
    if as_json:
        _print_json(lab)
    else:
        typer.echo(lab_status.text(lab_status.rows(lab)))


@app.command(context_settings=PASS_ON)
def ssh(
    server: Server,
    command: Annotated[list[str] | None, typer.Argument(help="Command to run", show_default="a shell")] = None,
    name: Name = "demo",
) -> None:
    """Log in to a server with the OpenSSH client."""
    lab, command = _lab_with(server, name, command or [])
    argv = ["ssh", "-F", str(lab.path / "ssh_config"), server, *command]
    _become(argv)


@app.command("exec", context_settings=PASS_ON)
def execute(
    server: Server,
    command: Annotated[list[str] | None, typer.Argument(help="Command to run", show_default="a shell")] = None,
    name: Name = "demo",
) -> None:
    """Run a command as root inside a server, without ssh."""
    from infra.lab import server as lab_server

    lab, command = _lab_with(server, name, command or [])
    argv = [*lab_server.enter(lab, server), *(command or ["bash", "--login"])]
    _become(argv)


def _become(argv: list[str]) -> None:
    """Replace this process with a program, exit status and all."""
    from infra.errors import DynoctlError
    from infra.manifest import programs

    program = programs.find(argv[0])
    if program is None:
        raise DynoctlError(f"{argv[0]} not found", "dynoctl lab up --install-packages")
    os.execv(program, argv)  # noqa: S606


def _lab_with(server: str, name: str, command: list[str]) -> tuple[LabState, list[str]]:
    """The lab that has this server, and the command. ``--name`` is also accepted after the server's name."""
    from infra.errors import DynoctlError
    from infra.lab import fleet, needs

    needs.root()
    if command[:1] == ["--name"] and len(command) > 1:
        name, command = command[1], command[2:]
    elif command and command[0].startswith("--name="):
        name, command = command[0].removeprefix("--name="), command[1:]
    lab = fleet.get(name)
    if server not in lab.servers:
        raise DynoctlError(f"lab {name} has no server {server}", f"available: {', '.join(lab.servers)}")
    return lab, command[1:] if command[:1] == ["--"] else command


def _print_json(lab: LabState) -> None:
    from dataclasses import asdict

    from infra.lab import status as lab_status
    from infra.views import json_text

    document = {
        "format_version": 1,
        "name": lab.name,
        "gateway": lab.gateway,
        "key": str(lab.path / "id_ed25519"),
        "known_hosts": str(lab.path / "known_hosts"),
        "ssh_config": str(lab.path / "ssh_config"),
        "inventory": str(lab.path / "inventory.yaml"),
        "servers": [asdict(row) for row in lab_status.rows(lab)],
    }
    typer.echo(json_text.indented(document))
