"""The keys of a lab, made at run time: one to log in with, and one for each server's sshd."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from infra.lab.files import replace
from infra.lab.run import run
from infra.lab.state import LabState


def make(lab: LabState) -> Path:
    """The login key; made once for each lab."""
    key = lab.path / "id_ed25519"
    _generate(key, f"dynoctl lab {lab.name}")
    return key


def host_key(lab: LabState, server: str) -> Path:
    """A server's own host key; it stays the same over reboots, as a real one's does."""
    key = lab.path / "hostkeys" / server
    key.parent.mkdir(mode=0o700, exist_ok=True)
    _generate(key, server)
    return key


def _generate(key: Path, comment: str) -> None:
    if key.exists():
        return
    fresh = key.with_name(f".{key.name}.{os.getpid()}")
    for half in (fresh, Path(f"{fresh}.pub")):
        half.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(fresh)])
    Path(f"{fresh}.pub").rename(f"{key}.pub")
    fresh.rename(key)  # last: where it is there, so is its other half


def install(lab: LabState, server: str, root: Path) -> None:
    """Put the keys where the server's sshd looks for them."""
    key = host_key(lab, server)
    place = root / "etc/ssh/ssh_host_ed25519_key"
    shutil.copy(key, place)
    place.chmod(0o600)
    shutil.copy(f"{key}.pub", f"{place}.pub")
    public = (lab.path / "id_ed25519.pub").read_text()
    for home in ("root", "home/deploy"):
        file = root / home / ".ssh/authorized_keys"
        file.write_text(public)
        file.chmod(0o644)


def write_known_hosts(lab: LabState) -> None:
    """Every server's address with its exact host key."""
    lines = []
    for server in lab.servers:
        words = host_key(lab, server).with_name(f"{server}.pub").read_text().split()
        lines.append(f"{lab.address(server)} {words[0]} {words[1]}\n")
    replace(lab.path / "known_hosts", "".join(lines))
