"""The tutorial, typed as it is on its page: by a new user with a home directory of their own, in a real terminal."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.lab.support import DYNOCTL, WAIT
from tests.lab.terminal import Terminal

PAGE = Path(__file__).parents[2] / "docs/tutorial/getting-started.md"
BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
APPROVE = "Only 'yes' is accepted to approve: "

CLEAN = """
userdel --force --remove deployer
rm -f /etc/sudoers.d/dynoctl-deployer
[ -e /etc/postgresql/*/main/conf.d/shop.conf ] || exit 0
runuser -u postgres -- psql -q -c 'DROP DATABASE IF EXISTS shop WITH (FORCE)' -c 'DROP USER IF EXISTS shop'
systemctl stop postgresql
sed -i '/^host shop shop/d' /etc/postgresql/*/main/pg_hba.conf
rm /etc/postgresql/*/main/conf.d/shop.conf
"""


def as_new_user(home: Path, command: str) -> list[str]:
    """A command line for ``command``, for which ``home`` lies over the real ``~/.ssh`` of whoever tests."""
    real = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh"
    real.mkdir(mode=0o700, exist_ok=True)
    return ["unshare", "--mount", "sh", "-ec", f"mount --bind {home} {real}; {command}"]


@pytest.fixture
def home(fleet: Any, tmp_path: Path) -> Iterator[Path]:
    """An ``~/.ssh`` that knows the servers, and the key of root there. Whatever the tutorial leaves is removed."""
    directory = tmp_path / "ssh"
    directory.mkdir(mode=0o700)
    shutil.copy(fleet.key, directory / "id_ed25519")
    shutil.copy(fleet.known_hosts, directory / "known_hosts")
    yield directory
    if not (tmp_path / "done").exists():
        destroy = f"cd {tmp_path}/shop && {DYNOCTL} destroy --auto-approve"
        subprocess.run(as_new_user(directory, destroy), check=False)
    for server in ("grid-1", "grid-2"):
        fleet.exec(server, "sh", "-c", CLEAN, check=False)


def script(fleet: Any) -> str:
    """The blocks of the page in their order, with the addresses of the lab. What is YAML is written to dyno.yaml."""
    lines = ["set -e"]
    for language, text in BLOCK.findall(PAGE.read_text()):
        for number in (1, 2):
            text = text.replace(f"10.0.0.1{number}", fleet.address(f"grid-{number}"))
        lines.append(f"cat > dyno.yaml <<'PAGE'\n{text}PAGE" if language == "yaml" else text)
    return "\n".join([*lines, "touch ../done"])


def test_every_command_of_the_tutorial(fleet: Any, home: Path, tmp_path: Path) -> None:
    (tmp_path / "typed").write_text(script(fleet))
    path = f"{DYNOCTL.parent}:{os.environ['PATH']}"
    user: Any = SimpleNamespace(directory=tmp_path, environment={"PATH": path}, write=lambda: None)
    program, *words = as_new_user(home, f"exec bash {tmp_path / 'typed'}")
    terminal = Terminal(user, *words, program=Path(program))
    said = ""
    try:
        for expected in (
            *("-----", "all passed", APPROVE, "v1 runs on all 2 dynos", "Visit 1 of this shop."),
            *("GREETING is set", APPROVE, "v2 runs on all 2 dynos", "Good afternoon: this is web.", APPROVE),
        ):
            terminal.wait_for(expected, 3 * WAIT)
            before, _, terminal.text = terminal.text.partition(expected)
            said += before + expected
            if expected == APPROVE:
                terminal.say("yes")
        text, code = terminal.end()
    finally:
        terminal.kill()
    assert code == 0, said + text
    assert "2 of 2 up" in said
    (secret,) = re.findall("postgresql://shop:(.*)@", (tmp_path / "shop/.dyno/secrets").read_text())
    assert secret not in said + text
