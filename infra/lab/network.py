"""A lab's network: one bridge, and for each server a namespace with one leg on it. No way out."""

from __future__ import annotations

import re
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.run import run
from infra.lab.state import LabState

NAMESPACES = Path("/run/netns")
_INTERFACES = Path("/sys/class/net")


def namespace(lab: LabState, server: str) -> str:
    """The name of a server's network namespace."""
    return f"dynolab-{lab.name}-{server}"


def _leg(lab: LabState, server: str) -> str:
    return f"dl{lab.subnet}-{lab.servers[server].number}"


def _mac(lab: LabState, number: int) -> str:
    """A card's address stays the same over reboots, or the others would go on talking to the old one for a while."""
    return f"02:64:79:6e:{lab.subnet:02x}:{number:02x}"


def subnets_in_use() -> set[int]:
    """The subnets of 10.77.0.0/16 that this machine has an address in, a lab's or not."""
    shown = run(["ip", "-o", "-4", "address", "show"]).stdout
    return {int(number) for number in re.findall(r" 10\.77\.(\d+)\.\d+", shown)}


def up(lab: LabState) -> None:
    """Make the bridge. Raises DynoctlError where its subnet belongs to something else."""
    exists = (_INTERFACES / lab.bridge).exists()
    held = lab.gateway in run(["ip", "-o", "-4", "address", "show", "dev", lab.bridge], check=False).stdout
    if not held and lab.subnet in subnets_in_use():
        raise DynoctlError(
            f"10.77.{lab.subnet}.0/24 is in use on this machine, and not by a lab",
            "Give the lab another name with --name: only demo insists on its subnet.",
        )
    if not exists:
        run(["ip", "link", "add", lab.bridge, "address", _mac(lab, 1), "type", "bridge"])
    if not held:  # an ``up`` that was killed in between left a bridge without an address
        run(["ip", "address", "add", f"{lab.gateway}/24", "dev", lab.bridge])
    run(["ip", "link", "set", lab.bridge, "up"])


def attach(lab: LabState, server: str) -> None:
    """Make a server's namespace and plug it into the bridge; what a killed ``up`` left half made is made anew."""
    name, leg = namespace(lab, server), _leg(lab, server)
    detach(lab, server)
    run(["ip", "netns", "add", name])
    mac = _mac(lab, lab.servers[server].number)
    run(["ip", "link", "add", leg, "type", "veth", "peer", "name", "host0", "address", mac, "netns", name])
    run(["ip", "link", "set", leg, "master", lab.bridge, "up"])
    inside = f"address add {lab.address(server)}/24 dev host0\nlink set host0 up\nlink set lo up\n"
    run(["ip", "-n", name, "-batch", "-"], stdin=inside)


def cut(lab: LabState, server: str) -> None:
    """Cut a server off without a word, as a pulled cable does."""
    run(["ip", "link", "set", _leg(lab, server), "nomaster"])


def restore(lab: LabState, server: str) -> None:
    """Plug a server in again; nothing happens where it is plugged in."""
    if not (_INTERFACES / _leg(lab, server) / "master").exists():
        run(["ip", "link", "set", _leg(lab, server), "master", lab.bridge])


def detach(lab: LabState, server: str) -> None:
    """Remove a server's namespace and its leg."""
    if (_INTERFACES / _leg(lab, server)).exists():
        run(["ip", "link", "delete", _leg(lab, server)], check=False)
    if (NAMESPACES / namespace(lab, server)).exists():
        run(["ip", "netns", "delete", namespace(lab, server)], check=False)


def down(lab: LabState) -> None:
    """Remove the bridge."""
    if (_INTERFACES / lab.bridge).exists():
        run(["ip", "link", "delete", lab.bridge], check=False)
