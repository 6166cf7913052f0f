"""The address and login of a server: everything that a connection needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """One server. Settings that are None come from ssh_config, the agent and the defaults."""

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    key: Path | None = None
    known_hosts: Path | None = None
    gateway: str | None = None
    connect_timeout: int = 10


def host_port(host: str, port: int) -> str:
    """A host and a port as one text; an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
