"""The state of a lab. It is saved before anything is created, so that ``down`` finds everything after a crash."""

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
"""The subnet of the lab in the example manifest: 10.77.0.0/24."""

DATA = "data"
BARE = "bare-"
"""The name prefix of servers with only systemd and sshd."""

MOST = 32
"""Maximum number of servers in a lab, not counting ``data`` and bare servers."""

MOST_BARE = 8
"""Maximum number of bare servers in a lab."""

LONGEST = 32
"""Maximum length of a lab name: followed by a server name, it must be a valid host name."""

_saving = threading.Lock()


@dataclass
class ServerState:
    """A server: its number (the last byte of its address), its machine-id, and the process that keeps it running."""

    name: str
    number: int
    machine_id: str
    release: str = ""
    """The code name of its Debian release."""
    root: str = ""
    """The shared root that it was created from. Its overlay requires the same root."""
    pid: int = 0
    started: int = 0
    """The start time of the process in clock ticks since boot, because pids are reused."""
    boot: str = ""
    """The boot of the local machine in which the process was started, because pids are reused after a restart."""


@dataclass
class LabState:
    """A lab."""

    name: str
    subnet: int
    password: str = ""
    prepared: bool = False
    """Whether the database users and databases were created. If not, the next ``up`` creates them."""
    servers: dict[str, ServerState] = field(default_factory=dict)
    releases: tuple[str, ...] = ()
    """The Debian releases that new servers get in turn."""
    repository: tuple[int, int, str] = (0, 0, "")
    """The process that serves packages to the bare servers: its pid, start time and boot, as for a server."""

    @property
    def path(self) -> Path:
        """The directory of the lab."""
        return STATE / self.name

    @property
    def bridge(self) -> str:
        """The name of the bridge that connects the servers."""
        return f"dynolab{self.subnet}"

    @property
    def gateway(self) -> str:
        """The address of the local machine in the network of the lab."""
        return f"10.77.{self.subnet}.1"

    @property
    def grid(self) -> list[str]:
        """The ``grid-N`` servers in numerical order."""
        return sorted((name for name in self.servers if name.startswith("grid-")), key=number_of)

    @property
    def bare(self) -> list[str]:
        """The bare servers in numerical order."""
        return sorted((name for name in self.servers if name.startswith(BARE)), key=number_of)

    def release_of(self, server: str) -> str:
        """The Debian release of a new ``grid-N`` or ``bare-N``: they take turns."""
        number = int(server.rpartition("-")[2]) - 1
        return self.releases[number % len(self.releases)]

    def address(self, server: str) -> str:
        """The address of a server: ``data`` is .2, ``grid-N`` is .10+N, ``bare-N`` is .50+N."""
        return f"10.77.{self.subnet}.{self.servers[server].number}"

    def save(self) -> None:
        """Save the state atomically and durably: after a power failure, the file has the old or the new content."""
        with _saving:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self.path / f"state.json.{os.getpid()}"
            with temporary.open("w") as file:
                file.write(json.dumps(asdict(self), indent=1))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.path / "state.json")


def check_name(name: str) -> str:
    """``name``, if it is valid in host names and paths. Raises DynoctlError if not."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*(?<!-)", name) or len(name) > LONGEST:
        raise DynoctlError(
            f"invalid lab name {name!r}",
            f"use at most {LONGEST} lowercase letters, digits and dashes, starting with a letter, such as demo",
        )
    return name


def number_of(server: str) -> int:
    """The last byte of a server's address."""
    if server == DATA:
        return 2
    kind, _, number = server.partition("-")
    return {"grid": 10, "bare": 50}[kind] + int(number)


def boot_id() -> str:
    """The id of the current boot of the local machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def load(name: str) -> LabState | None:
    """The state of a lab, or None if there is none. Raises DynoctlError if it cannot be read."""
    file = STATE / check_name(name) / "state.json"
    try:
        data = json.loads(file.read_text())
        keys = {member.name for member in fields(ServerState)}
        servers = {
            server: ServerState(**{key: item for key, item in value.items() if key in keys})
            for server, value in data.pop("servers").items()
        }
        keys = {member.name for member in fields(LabState)}
        data["repository"] = tuple(data.get("repository", (0, 0, "")))
        data["releases"] = tuple(data.get("releases", ()))
        return LabState(**{key: value for key, value in data.items() if key in keys}, servers=servers)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise DynoctlError(f"cannot read {file}: permission denied", "run the command with sudo") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DynoctlError(f"{file} is damaged: {error}", "fix the file: it lists what lab down must remove") from None


def names() -> list[str]:
    """The names of all labs."""
    try:
        return sorted(path.name for path in STATE.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except PermissionError:
        raise DynoctlError(f"cannot read {STATE}: permission denied", "run the command with sudo") from None


def free_subnet(name: str, in_use: Collection[int] = ()) -> int:
    """The subnet for a new lab: the first one for ``demo``, else the lowest that is not in use."""
    if name == "demo":
        return DEMO
    taken = {DEMO, *in_use, *(lab.subnet for other in names() if (lab := load(other)) is not None)}
    for number in range(1, 256):
        if number not in taken:
            return number
    raise DynoctlError("all 255 subnets of 10.77.0.0/16 are in use", "dynoctl lab down --all")
