"""Set-ups of a server that tests apply and undo, and what doctor finds there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.lab.support import APPS, Project

SERVER = "grid-1"

SSHD = "systemctl reset-failed ssh; systemctl restart ssh"
"""A restart, not a reload: that is over once sshd listens with the new settings, and sessions stay."""


def sshd(*lines: str) -> tuple[str, str]:
    """Settings of sshd. The first value of most counts, and the last one of MaxStartups."""
    text = "\\n".join(lines)
    write = f"printf '{text}\\n' > /etc/ssh/sshd_config.d/00-case.conf"
    copy = "cp /etc/ssh/sshd_config.d/00-case.conf /etc/ssh/sshd_config.d/zz-case.conf"
    return f"{write}; {copy}; {SSHD}", f"rm -f /etc/ssh/sshd_config.d/*-case.conf; {SSHD}"


def link(path: str) -> tuple[str, str]:
    """A directory that is a link, as on systems made from images."""
    real = f"/var/real{path.replace('/', '-')}"
    return (
        f"cp -a {path} {real}; mv {path} {path}.away; ln -s {real} {path}",
        f"rm {path}; mv {path}.away {path}; rm -rf {real}",
    )


def project(directory: Path, fleet: Any, name: str, **keys: Any) -> Project:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    one = Project(directory, fleet, name, APPS / "probe", framework=framework, **keys)
    one.manifest |= fleet.inventory(SERVER)
    one.manifest["dynos"] = {"web": 1}
    return one


def findings(app: Project, code: int) -> dict[str, dict[str, str]]:
    """The findings about the server by check; of several the worst."""
    order = ["ok", "warning", "failed"]
    found: dict[str, dict[str, str]] = {}
    for one in json.loads(app.dynoctl("doctor", "--json", code=code).stdout)["findings"]:
        key = one["check"]
        if one["server"] in (SERVER, "here") and order.index(one["result"]) >= order.index(
            found.get(key, one)["result"]
        ):
            found[key] = one
    return found
