"""The network of a lab: a bridge, and a namespace for each server that is connected to it. No route leads out."""

from __future__ import annotations

import re
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.run import run
from infra.lab.state import LabState

NAMESPACES = Path("/run/netns")
_INTERFACES = Path("/sys/class/net")


def namespace(lab: LabState, server: str) -> str:
    """The name of the network namespace of a server."""
    return f"dynolab-{lab.name}-{server}"


def interface(lab: LabState, server: str) -> str:
    """The name of the interface, on the local machine, that connects a server to the bridge."""
    return f"dl{lab.subnet}-{lab.servers[server].number}"


def _mac(lab: LabState, number: int) -> str:
    """A MAC address that does not change on reboots, because other servers cache it."""
    return f"02:64:79:6e:{lab.subnet:02x}:{number:02x}"


def subnets_in_use() -> set[int]:
    """The subnets of 10.77.0.0/16 in which the local machine has an address, including those of labs."""
    shown = run(["ip", "-o", "-4", "address", "show"]).stdout
    return {int(number) for number in re.findall(r" 10\.77\.(\d+)\.\d+", shown)}


def up(lab: LabState) -> None:
    """Create the bridge. Raises DynoctlError if its subnet is used by something else."""
    exists = (_INTERFACES / lab.bridge).exists()
    held = lab.gateway in run(["ip", "-o", "-4", "address", "show", "dev", lab.bridge], check=False).stdout
    if not held and lab.subnet in subnets_in_use():
        raise DynoctlError(
            f"subnet 10.77.{lab.subnet}.0/24 is already in use on this machine",
            "use another lab name with --name: only the lab demo requires a fixed subnet",
        )
    if not exists:
        run(["ip", "link", "add", lab.bridge, "address", _mac(lab, 1), "type", "bridge"])
    if not held:  # a killed ``up`` may have left a bridge without an address
        run(["ip", "address", "add", f"{lab.gateway}/24", "dev", lab.bridge])
    run(["ip", "link", "set", lab.bridge, "up"])


def attach(lab: LabState, server: str) -> None:
    """Create the namespace of a server and connect it to the bridge. Replaces what a killed ``up`` left."""
    name, link = namespace(lab, server), interface(lab, server)
    detach(lab, server)
    run(["ip", "netns", "add", name])
    mac = _mac(lab, lab.servers[server].number)
    run(["ip", "link", "add", link, "type", "veth", "peer", "name", "host0", "address", mac, "netns", name])
    run(["ip", "link", "set", link, "master", lab.bridge, "up"])
    inside = f"address add {lab.address(server)}/24 dev host0\nlink set host0 up\nlink set lo up\n"
    run(["ip", "-n", name, "-batch", "-"], stdin=inside)


def off(lab: LabState, server: str) -> None:
    """Take a stopped server off the network: nothing answers at its address, not even that a port is closed. The local
    machine learns so at once."""
    detach(lab, server)
    run(["ip", "route", "replace", "unreachable", f"{lab.address(server)}/32"], check=False)


def cut(lab: LabState, server: str) -> None:
    """Disconnect a server like an unplugged cable."""
    run(["ip", "link", "set", interface(lab, server), "nomaster"])


def restore(lab: LabState, server: str) -> None:
    """Reconnect a server. Does nothing if it is connected, or off."""
    link = _INTERFACES / interface(lab, server)
    if link.exists() and not (link / "master").exists():
        run(["ip", "link", "set", link.name, "master", lab.bridge])


def detach(lab: LabState, server: str) -> None:
    """Remove the namespace and the interface of a server."""
    run(["ip", "route", "delete", "unreachable", f"{lab.address(server)}/32"], check=False)
    if (_INTERFACES / interface(lab, server)).exists():
        run(["ip", "link", "delete", interface(lab, server)], check=False)
    if (NAMESPACES / namespace(lab, server)).exists():
        run(["ip", "netns", "delete", namespace(lab, server)], check=False)


def down(lab: LabState) -> None:
    """Remove the bridge."""
    if (_INTERFACES / lab.bridge).exists():
        run(["ip", "link", "delete", lab.bridge], check=False)
