"""What others do on the same replayed servers: a bare Paramiko, pyinfra and Ansible."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.cost import Cost, run
from tests.bench.replayed import hosts
from tests.bench.tools import ROOT, say

PEERS = ROOT / ".venv-bench"
PACKAGES = {"pyinfra": "pyinfra==3.10", "ansible": "ansible-core==2.19.*"}
"""By program, what it is installed from."""

FORKS = 32
"""Servers that each works on at the same time, as dynoctl does by default."""

BARE = """\
import sys
from concurrent.futures import ThreadPoolExecutor
import paramiko
hosts, port, key = sys.argv[1].split(","), int(sys.argv[2]), sys.argv[3]
def ask(host):
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.MissingHostKeyPolicy())
    client.connect(host, port, "root", key_filename=key, allow_agent=False, look_for_keys=False)
    channel = client.exec_command("true")[1].channel
    channel.shutdown_write()
    channel.recv_exit_status()
    client.close()
def tried(host):
    try:
        ask(host)
    except paramiko.SSHException:
        ask(host)
with ThreadPoolExecutor(32) as pool:
    list(pool.map(tried, hosts))
"""
"""A thread of a connection that was closed may take the first bytes of another one that got its descriptor, about once
in some thousand, so a failure is tried again. See ``infra.remote.steady_socket``."""

FACTS = (
    "server.Users",
    "server.Mounts",
    "files.Sha256File",
    "path=/etc/os-release",
    "files.FindFiles",
    "path=/etc/systemd/system",
)
"""Some of what a plan reads: users, mounts, the digest of a file, and the names of units."""


def bare(work: Path, size: int, port: int) -> Cost:
    """Connect, run ``true`` and close: the least that anything on Paramiko can take."""
    return run([sys.executable, "-c", BARE, ",".join(hosts(size)), str(port), str(work / "key")], work)


def installed(program: str) -> bool:
    """Whether a peer can be used; it is installed if the package index has it."""
    if not (PEERS / "bin" / program).exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
        wanted: list[str | Path] = [PEERS / "bin/pip", "install", "--quiet", PACKAGES[program]]
        if subprocess.run(wanted, check=False).returncode != 0:
            say(f"{PACKAGES[program]} cannot be installed, and is left out")
            return False
    return True


def pyinfra(work: Path, size: int, port: int) -> Iterator[tuple[str, Cost]]:
    """A command that does nothing, then some facts."""
    for name, at, words in (
        ("pyinfra exec", port, ["exec", "--", "true"]),
        ("pyinfra facts", port + 1, ["fact", *FACTS]),
    ):
        data = f"{{'ssh_user': 'root', 'ssh_port': {at}, 'ssh_key': {str(work / 'key')!r}, "
        data += f"'ssh_known_hosts_file': {str(work / 'known_hosts')!r}}}"
        (work / "inventory.py").write_text(f"hosts = [(host, {data}) for host in {hosts(size)!r}]\n")
        argv: list[str | Path] = [PEERS / "bin/pyinfra", "-y", "--parallel", str(FORKS), "inventory.py", *words]
        cost = run(argv, work)
        yield name, cost


def ansible(work: Path, size: int, port: int) -> Cost:
    """The module ``ping``, with Ansible's own settings of connections."""
    (work / "hosts.ini").write_text("".join(f"{host}\n" for host in hosts(size)))
    home = work / "ansible"
    home.mkdir(exist_ok=True)
    options = f"-o UserKnownHostsFile={work / 'known_hosts'} -o IdentityAgent=none"
    cost = run(
        [PEERS / "bin/ansible", "all", "-i", work / "hosts.ini", "-m", "ping", "-f", str(FORKS), "-o"],
        work,
        ANSIBLE_HOME=str(home),
        ANSIBLE_REMOTE_TMP=str(work / "home/tmp"),
        ANSIBLE_REMOTE_USER="root",
        ANSIBLE_REMOTE_PORT=str(port + 1),
        ANSIBLE_PRIVATE_KEY_FILE=str(work / "key"),
        ANSIBLE_SSH_COMMON_ARGS=options,
        ANSIBLE_NOCOLOR="1",
        ANSIBLE_LOCALHOST_WARNING="0",
        LC_ALL="C.UTF-8",
    )
    answered = cost.output.count("pong")
    if answered != size:
        raise SystemExit(f"{answered} of {size} servers answered Ansible\n{cost.output[-3000:]}")
    return cost
