"""A login that can only plan: what the operator installs, and the ssh_config of the job that uses it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab.support import Project

LOGIN = "observer"


def program(app: str) -> str:
    return f"/usr/local/sbin/dynoctl-observe-{app}"


def install(project: Project, fleet: Any, servers: Sequence[str], directory: Path) -> dict[str, str]:
    """Install the program and its rule on servers. Returns variables with which dynoctl logs in as the observer.

    OpenSSH reads the config in the home directory of the user database, which is not ours to write, so ``ssh`` is
    another program that reads this one."""
    app = str(project.manifest["app"]["name"])
    text = project.dynoctl("sudoers", "--read-only", "--program").stdout
    rule = project.dynoctl("sudoers", "--read-only", "--user", LOGIN).stdout
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "observer"], check=True)
    public = (directory / "observer.pub").read_text()
    sudoers = f"/etc/sudoers.d/dynoctl-{LOGIN}"
    for server in servers:
        fleet.exec(server, "sh", "-c", f"userdel -r {LOGIN} 2>/dev/null; useradd -m -s /bin/sh {LOGIN}")
        keys = f"install -d -m 700 -o {LOGIN} ~{LOGIN}/.ssh; cat > ~{LOGIN}/.ssh/authorized_keys"
        fleet.exec(server, "sh", "-ec", keys, input=public)
        fleet.exec(server, "sh", "-ec", f"cat > {program(app)}; chmod 755 {program(app)}", input=text)
        fleet.exec(server, "sh", "-ec", f"cat > {sudoers}; chmod 440 {sudoers}; visudo -c", input=rule)
    tools = directory / "tools"
    tools.mkdir()
    (tools / "config").write_text(
        f"Host *\n  User {LOGIN}\n  IdentityFile {directory / 'observer'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {fleet.known_hosts}\n"
    )
    (tools / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {tools}/config "$@"\n')
    (tools / "ssh").chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}", "SSH_AUTH_SOCK": ""}


def remove(app: str, fleet: Any, servers: Sequence[str]) -> None:
    for server in servers:
        files = f"/etc/sudoers.d/dynoctl-{LOGIN} {program(app)}"
        fleet.exec(server, "sh", "-c", f"rm -f {files}; userdel -r {LOGIN}; :")
