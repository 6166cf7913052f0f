"""The SSH keys of a lab: a login key, and a host key for each server. They are generated at run time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from infra.lab.files import replace
from infra.lab.run import run
from infra.lab.state import LabState


def make(lab: LabState) -> Path:
    """The login key, generated once per lab."""
    key = lab.path / "id_ed25519"
    _generate(key, f"dynoctl lab {lab.name}")
    return key


def host_key(lab: LabState, server: str) -> Path:
    """The host key of a server. It does not change on reboots."""
    key = lab.path / "hostkeys" / server
    key.parent.mkdir(mode=0o700, exist_ok=True)
    _generate(key, server)
    return key


def _generate(key: Path, comment: str) -> None:
    if key.exists():
        return
    temporary = key.with_name(f".{key.name}.{os.getpid()}")
    for half in (temporary, Path(f"{temporary}.pub")):
        half.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(temporary)])
    Path(f"{temporary}.pub").rename(f"{key}.pub")
    temporary.rename(key)  # last: if the private key exists, so does the public key


def install(lab: LabState, server: str, root: Path) -> None:
    """Install the keys for the server's sshd."""
    key = host_key(lab, server)
    path = root / "etc/ssh/ssh_host_ed25519_key"
    shutil.copy(key, path)
    path.chmod(0o600)
    shutil.copy(f"{key}.pub", f"{path}.pub")
    public = (lab.path / "id_ed25519.pub").read_text()
    for home in ("root", "home/deploy"):
        file = root / home / ".ssh/authorized_keys"
        file.write_text(public)
        file.chmod(0o644)


def write_known_hosts(lab: LabState) -> None:
    """Write known_hosts with the address and host key of every server."""
    lines = []
    for server in lab.servers:
        fields = host_key(lab, server).with_name(f"{server}.pub").read_text().split()
        lines.append(f"{lab.address(server)} {fields[0]} {fields[1]}\n")
    replace(lab.path / "known_hosts", "".join(lines))
