"""A lab's network: one bridge, and for each server a namespace with one leg on it. No way out."""

from __future__ import annotations

from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.run import run
from infra.lab.state import LabState

NAMESPACES = Path("/run/netns")


def namespace(lab: LabState, server: str) -> str:
    return f"dynolab-{lab.name}-{server}"


def _leg(lab: LabState, server: str) -> str:
    return f"dl{lab.subnet}-{lab.servers[server].number}"


def up(lab: LabState) -> None:
    """Make the bridge. Raises DynoctlError where its subnet belongs to something else."""
    if Path(f"/sys/class/net/{lab.bridge}").exists():
        return
    taken = run(["ip", "-o", "-4", "address", "show"]).stdout
    if f" 10.77.{lab.subnet}." in taken:
        raise DynoctlError(f"10.77.{lab.subnet}.0/24 is in use on this machine", "Give the lab another --name.")
    run(["ip", "link", "add", lab.bridge, "type", "bridge"])
    run(["ip", "address", "add", f"{lab.gateway}/24", "dev", lab.bridge])
    run(["ip", "link", "set", lab.bridge, "up"])


def attach(lab: LabState, server: str) -> None:
    """Make a server's namespace and plug it into the bridge."""
    name, leg = namespace(lab, server), _leg(lab, server)
    if (NAMESPACES / name).exists():
        return
    run(["ip", "netns", "add", name])
    run(["ip", "link", "add", leg, "type", "veth", "peer", "name", "host0", "netns", name])
    run(["ip", "link", "set", leg, "master", lab.bridge, "up"])
    run(["ip", "-n", name, "address", "add", f"{lab.address(server)}/24", "dev", "host0"])
    run(["ip", "-n", name, "link", "set", "host0", "up"])
    run(["ip", "-n", name, "link", "set", "lo", "up"])


def cut(lab: LabState, server: str) -> None:
    """Cut a server off without a word, as a pulled cable does."""
    run(["ip", "link", "set", _leg(lab, server), "nomaster"])


def restore(lab: LabState, server: str) -> None:
    """Plug a server in again."""
    run(["ip", "link", "set", _leg(lab, server), "master", lab.bridge])


def detach(lab: LabState, server: str) -> None:
    """Remove a server's namespace and its leg."""
    run(["ip", "link", "delete", _leg(lab, server)], check=False)
    if (NAMESPACES / namespace(lab, server)).exists():
        run(["ip", "netns", "delete", namespace(lab, server)], check=False)


def down(lab: LabState) -> None:
    """Remove the bridge."""
    run(["ip", "link", "delete", lab.bridge], check=False)
