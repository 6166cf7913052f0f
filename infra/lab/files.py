"""The files that a lab provides: an inventory for a dyno.yaml, an ssh_config, the URLs of the services."""

from __future__ import annotations

import os
from pathlib import Path

from infra.lab import services
from infra.lab.state import LabState


def replace(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file atomically: a concurrent reader sees the old or the new content."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=mode)
    temporary.write_text(text)
    temporary.rename(path)


def write(lab: LabState) -> None:
    """Write the inventory, the ssh_config and the URLs of the services."""
    for name, url in services.urls(lab).items():
        replace(lab.path / name, f"{url}\n")
    lines = ["servers:\n", *(f"  - {{name: {name}, host: {lab.address(name)}}}\n" for name in [*lab.grid, *lab.bare])]
    lines.append(f"ssh: {{user: root, key: {lab.path}/id_ed25519, known_hosts: {lab.path}/known_hosts}}\n")
    replace(lab.path / "inventory.yaml", "".join(lines))
    blocks = [f"Host {name}\n  HostName {lab.address(name)}\n" for name in lab.servers]
    common = f"Host *\n  User root\n  IdentityFile {lab.path}/id_ed25519\n  IdentitiesOnly yes\n"
    strict = f"  UserKnownHostsFile {lab.path}/known_hosts\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
    replace(lab.path / "ssh_config", "".join(blocks) + common + strict)


def hosts(lab: LabState) -> str:
    """The /etc/hosts of the servers, with the names of all of them."""
    lines = (f"{lab.address(name)} {name}\n" for name in lab.servers)
    return f"127.0.0.1 localhost\n::1 localhost\n{''.join(lines)}"
