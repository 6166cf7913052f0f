"""What a lab is made of, written down before it is made, so that ``down`` finds it after any crash."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

STATE = Path("/var/lib/dynoctl-lab")
DEMO = 0
"""The subnet of the lab that the example manifest names: 10.77.0.0/24."""

DATA = "data"


@dataclass
class ServerState:
    """One server: its number (its address is 10 more), machine-id, and the process that keeps it running."""

    name: str
    number: int
    machine_id: str
    pid: int = 0
    started: int = 0
    """The process's start time in clock ticks since boot: a pid alone may belong to somebody else by now."""


@dataclass
class LabState:
    """One lab, by name."""

    name: str
    subnet: int
    password: str = ""
    servers: dict[str, ServerState] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return STATE / self.name

    @property
    def bridge(self) -> str:
        return f"dynolab{self.subnet}"

    @property
    def gateway(self) -> str:
        return f"10.77.{self.subnet}.1"

    def address(self, server: str) -> str:
        """``data`` is .2, ``grid-N`` is .10+N."""
        return f"10.77.{self.subnet}.{self.servers[server].number}"

    def save(self) -> None:
        """Write the state whole."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path / f"state.json.{os.getpid()}"
        fresh.write_text(json.dumps(asdict(self), indent=1))
        fresh.rename(self.path / "state.json")


def number_of(server: str) -> int:
    """The last byte of a server's address."""
    return 2 if server == DATA else 10 + int(server.removeprefix("grid-"))


def load(name: str) -> LabState | None:
    """The state of a lab, or None where there is none."""
    try:
        data = json.loads((STATE / name / "state.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    servers = {key: ServerState(**value) for key, value in data.pop("servers").items()}
    return LabState(**data, servers=servers)


def names() -> list[str]:
    """All labs that left a state."""
    return sorted(path.name for path in STATE.glob("*") if path.is_dir())


def free_subnet(name: str) -> int:
    """``demo`` has the first subnet, every other lab the lowest that no lab has."""
    if name == "demo":
        return DEMO
    taken = {state.subnet for other in names() if (state := load(other)) is not None}
    return next(number for number in range(1, 256) if number not in taken)
