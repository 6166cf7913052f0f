"""What a lab is made of, written down before it is made, so that ``down`` finds it after any crash."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from infra.errors import DynoctlError

STATE = Path("/var/lib/dynoctl-lab")
DEMO = 0
"""The subnet of the lab that the example manifest names: 10.77.0.0/24."""

DATA = "data"
BARE = "bare-"
"""How the servers begin that have nothing but systemd and sshd."""

MOST = 32
"""Servers in one lab, beside ``data`` and the bare ones."""

MOST_BARE = 8

LONGEST = 32
"""Letters in a lab's name: with a server's name behind it, it must still be a host name."""

_saving = threading.Lock()


@dataclass
class ServerState:
    """One server: its number (the last byte of its address), machine-id, and the process that keeps it running."""

    name: str
    number: int
    machine_id: str
    root: str = ""
    """The shared root it was made from: its own layer fits no other."""
    pid: int = 0
    started: int = 0
    """The process's start time in clock ticks since boot: a pid alone may belong to somebody else by now."""
    boot: str = ""
    """This machine's boot in which that process ran: after a restart it is gone, whatever the pid says."""


@dataclass
class LabState:
    """One lab, by name."""

    name: str
    subnet: int
    password: str = ""
    prepared: bool = False
    """The role and the database are made; an ``up`` that was killed before that makes them next time."""
    servers: dict[str, ServerState] = field(default_factory=dict)
    repository: tuple[int, int, str] = (0, 0, "")
    """The process that serves packages to the bare servers: its pid, start time and boot, as a server's."""

    @property
    def path(self) -> Path:
        """Where everything of this lab lies."""
        return STATE / self.name

    @property
    def bridge(self) -> str:
        """The network interface that all its servers are plugged into."""
        return f"dynolab{self.subnet}"

    @property
    def gateway(self) -> str:
        """This machine's own address among the servers."""
        return f"10.77.{self.subnet}.1"

    @property
    def grid(self) -> list[str]:
        """The servers without ``data``, in the order of their numbers."""
        return sorted((name for name in self.servers if name.startswith("grid-")), key=number_of)

    @property
    def bare(self) -> list[str]:
        """The servers without Ruby, in the order of their numbers."""
        return sorted((name for name in self.servers if name.startswith(BARE)), key=number_of)

    def address(self, server: str) -> str:
        """``data`` is .2, ``grid-N`` is .10+N, ``bare-N`` is .50+N."""
        return f"10.77.{self.subnet}.{self.servers[server].number}"

    def save(self) -> None:
        """Write the state whole, and to the disk: a machine that loses power finds the old one or the new one."""
        with _saving:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self.path / f"state.json.{os.getpid()}"
            with fresh.open("w") as file:
                file.write(json.dumps(asdict(self), indent=1))
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self.path / "state.json")


def check_name(name: str) -> str:
    """``name`` itself. Raises DynoctlError where it cannot be part of host names and paths."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*(?<!-)", name) or len(name) > LONGEST:
        raise DynoctlError(
            f"{name!r} cannot be the name of a lab",
            f"Use a letter, then letters, digits and dashes; at most {LONGEST} in all, for example demo.",
        )
    return name


def number_of(server: str) -> int:
    """The last byte of a server's address."""
    if server == DATA:
        return 2
    kind, _, number = server.partition("-")
    return {"grid": 10, "bare": 50}[kind] + int(number)


def boot_id() -> str:
    """This boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def load(name: str) -> LabState | None:
    """The state of a lab, or None where there is none. Raises DynoctlError where it cannot be read."""
    file = STATE / check_name(name) / "state.json"
    try:
        data = json.loads(file.read_text())
        known = {one.name for one in fields(ServerState)}
        servers = {
            key: ServerState(**{word: what for word, what in value.items() if word in known})
            for key, value in data.pop("servers").items()
        }
        known = {one.name for one in fields(LabState)}
        data["repository"] = tuple(data.get("repository", (0, 0, "")))
        return LabState(**{word: what for word, what in data.items() if word in known}, servers=servers)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise DynoctlError(f"{file} is root's", "The lab needs root: run it with sudo.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DynoctlError(f"{file} is damaged: {error}", "Mend it by hand; it says what to take down.") from None


def names() -> list[str]:
    """All labs that left something."""
    try:
        return sorted(path.name for path in STATE.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except PermissionError:
        raise DynoctlError(f"{STATE} is root's", "The lab needs root: run it with sudo.") from None


def free_subnet(name: str, in_use: Collection[int] = ()) -> int:
    """``demo`` has the first subnet, every other lab the lowest that neither a lab nor this machine uses."""
    if name == "demo":
        return DEMO
    taken = {DEMO, *in_use, *(lab.subnet for other in names() if (lab := load(other)) is not None)}
    for number in range(1, 256):
        if number not in taken:
            return number
    raise DynoctlError("All 255 subnets of 10.77.0.0/16 are taken", "Take a lab down: dynoctl lab down --all")
