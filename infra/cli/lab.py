"""``dynoctl lab``: a fleet of real servers on this machine."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

app = typer.Typer(help="Run a fleet of real servers (systemd, sshd) on this machine.", no_args_is_help=True)

Name = Annotated[str, typer.Option("--name", help="The lab's name; demo is the one that the example manifest names.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _say(text: str) -> None:
    typer.echo(text, err=True)


@app.command()
def up(
    name: Name = "demo",
    servers: Annotated[int, typer.Option("--servers", min=1, max=32, help="How many servers, beside data.")] = 3,
    install_packages: Annotated[bool, typer.Option(help="Install missing Debian packages with apt first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Boot the servers, or those that are missing; safe to run again."""
    from infra.lab import fleet, needs

    needs.check(install=install_packages)
    lab = fleet.up(name, servers, _say)
    if as_json:
        _print_json(lab.name)
        return
    typer.echo((lab.path / "inventory.yaml").read_text(), nl=False)
    _say(f"The lab {name} is up. The lines above go into a dyno.yaml; they are also in {lab.path}/inventory.yaml.")


@app.command()
def down(
    name: Name = "demo",
    everything: Annotated[bool, typer.Option("--all", help="Take down every lab.")] = False,
) -> None:
    """Take the lab down and leave nothing of it."""
    from infra.lab import fleet, needs, state

    needs.check(install=False)
    for one in state.names() if everything else [name]:
        _say(f"The lab {one} is gone." if fleet.down(one, _say) else f"There is no lab called {one}.")


@app.command()
def status(name: Name = "demo", as_json: AsJson = False) -> None:
    """Show the servers of a lab."""
    if as_json:
        _print_json(name)
        return
    for row in _rows(name):
        typer.echo(f"{row['name']:<10} {row['address']:<14} {row['state']:<9} {row['processes']:>4} processes")


@app.command(context_settings={"ignore_unknown_options": True})
def ssh(
    server: Annotated[str, typer.Argument(help="The server: grid-1, data.")],
    command: Annotated[list[str] | None, typer.Argument(help="A command; without one, a shell.")] = None,
    name: Name = "demo",
) -> None:
    """Log in to a server with the OpenSSH client."""
    from infra.lab import fleet

    lab = fleet.get(name)
    _known(lab.servers, server)
    os.execvp("ssh", ["ssh", "-F", str(lab.path / "ssh_config"), server, *(command or [])])  # noqa: S606, S607  # becomes ssh


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    server: Annotated[str, typer.Argument(help="The server: grid-1, data.")],
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.")],
    name: Name = "demo",
) -> None:
    """Run a command as root inside a server, without ssh."""
    from infra.lab import fleet
    from infra.lab import server as lab_server

    lab = fleet.get(name)
    _known(lab.servers, server)
    argv = [*lab_server.enter(lab, server), *command]
    os.execvp(argv[0], argv)  # noqa: S606  # becomes the command, exit status and all


def _known(servers: object, server: str) -> None:
    from infra.errors import DynoctlError

    if server not in list(servers):  # type: ignore[call-overload]
        raise DynoctlError(f"The lab has no server called {server}", f"It has: {', '.join(servers)}")  # type: ignore[arg-type]


def _rows(name: str) -> list[dict[str, object]]:
    from infra.lab import cgroups, fleet, processes

    lab = fleet.get(name)
    return [
        {
            "name": one,
            "address": lab.address(one),
            "state": "running" if processes.running(state) else "stopped",
            "processes": len(cgroups.processes(lab, one)),
        }
        for one, state in lab.servers.items()
    ]


def _print_json(name: str) -> None:
    from infra.lab import fleet

    lab = fleet.get(name)
    document = {
        "format_version": 1,
        "name": name,
        "key": str(lab.path / "id_ed25519"),
        "known_hosts": str(lab.path / "known_hosts"),
        "servers": _rows(name),
    }
    typer.echo(json.dumps(document, indent=2))
