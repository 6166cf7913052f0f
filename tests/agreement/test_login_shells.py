"""Whatever the login shell is, and whatever its start files print and read, a script runs as it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.model.provider import Fragment
from infra.remote.quote import ENTRY, SPARE, observation, sections
from tests.agreement.sshd import program

SHELLS = {
    "sh": ("dash", ".profile"),
    "bash": ("bash", ".bashrc"),
    "csh": ("tcsh", ".cshrc"),
    "zsh": ("zsh", ".zshenv"),
    "fish": ("fish", ".config/fish/config.fish"),
}
"""The program of each login shell, as sshd runs it, and the start file that it reads."""

NOISE = {
    "sh": "echo noise; read answer\n",
    "bash": "echo noise; alias sh=false; export IFS=x PATH=/nonexistent LC_ALL=tr_TR.UTF-8 POSIXLY_CORRECT=1; read answer\n",
    "csh": "echo noise\nalias sh false\nsetenv LC_ALL tr_TR.UTF-8\nset answer = $<\n",
    "zsh": "echo noise; setopt NO_NOMATCH; export LC_ALL=tr_TR.UTF-8; read answer\n",
    "fish": "echo noise; set -x LC_ALL tr_TR.UTF-8; read answer\n",
}

FRAGMENT = Fragment(
    'printf "%s|%s|" "$value" "$LC_ALL"; printf I | tr I i', {"value": 'it\'s $HOME ! `x` \\ "q"\nzwei'}
)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("noisy", [False, True], ids=["quiet", "noisy"])
def test_a_script_runs_in_every_login_shell(shell: str, noisy: bool, tmp_path: Path) -> None:
    name, start = SHELLS[shell]
    if noisy:
        file = tmp_path / start
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(NOISE[shell])
    # bash reads ~/.bashrc if it thinks that sshd started it, as SSH_CLIENT says on Debian.
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SSH_CLIENT": "1", "USER": "deploy", "SHLVL": "0"}
    line = ENTRY if os.geteuid() == 0 else ENTRY.replace("sudo -n -- ", "")
    done = subprocess.run(
        [program(name, name), "-c", line],
        input=SPARE + observation({"facts": FRAGMENT}, "N0NCE").encode(),
        capture_output=True,
        env={**environment, "SSH_CONNECTION": "10.0.0.1 5000 10.0.0.2 22"},
        timeout=60,
        check=False,
    )
    found = sections(done.stdout.decode(), "N0NCE")
    assert found == {"facts": (0, f"{FRAGMENT.variables['value']}|C|i")}, done
    if noisy and shell != "sh":  # dash reads no start file unless it is a login shell
        assert done.stdout.startswith(b"noise")
