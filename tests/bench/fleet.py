"""``make bench-fleet``: what commands cost with up to a thousand servers, measured against a bare connection.

One sshd answers on as many addresses of the loopback as there are servers, and replays what one real server of a lab
answered. Only the CPU time and the memory of the client count: the rest is this machine's own sshd.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from infra.lab import fleet as labs
from infra.lab import needs
from infra.lab.state import DATA
from infra.remote import session
from tests.bench.tools import DYNOCTL, ROOT

LAB = "bench-fleet"
SIZES = (8, 100, 300, 1000)
DYNOS = 4
"""Dynos on each server."""

PEERS = ROOT / ".venv-bench"

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
with ThreadPoolExecutor(32) as pool:
    list(pool.map(ask, hosts))
"""


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds of CPU time and of wall time, and bytes of memory at its most."""

    cpu: float
    wall: float
    memory: int
    output: str


def run(argv: Sequence[str], directory: Path, **environment: str) -> Cost:
    """Run a command as a process of its own. Its children count, once they have ended."""
    with tempfile.TemporaryFile() as out:
        began = time.monotonic()
        process = subprocess.Popen(argv, cwd=directory, stdout=out, stderr=out, env={**os.environ, **environment})
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode(errors="replace")
    if process.returncode not in (0, 2):
        raise SystemExit(f"{' '.join(argv)[:300]}: exit status {process.returncode}\n{text[-2000:]}")
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss << 10, text)


def hosts(size: int) -> list[str]:
    return [f"127.2.{number // 250}.{number % 250 + 1}" for number in range(size)]


def record(work: Path) -> None:
    """Write what a real server answers, before and after an apply, to ``work/first`` and ``work/later``."""
    lab = labs.up(LAB, 1, say)
    try:
        name = next(name for name in lab.servers if name != DATA)
        place = lab.address(name)
        login = {"user": "root", "key": str(lab.path / "id_ed25519"), "known_hosts": str(lab.path / "known_hosts")}
        (work / "dyno.yaml").write_text(json.dumps(manifest([{"name": "n0", "host": place}], login)))
        answers(work, "first", place, "plan")
        run([DYNOCTL, "apply", "--auto-approve"], work)
        answers(work, "later", place, "plan", "ps")
    finally:
        labs.down(LAB, say)


def manifest(servers: list[dict[str, Any]], ssh: dict[str, str]) -> dict[str, Any]:
    return {
        "version": 1,
        "app": {"name": "shop", "source": "app"},
        "framework": {"name": "rack", "require": "./app", "app": "App"},
        "app_server": "puma",
        "dynos": {"web": DYNOS * len(servers)},
        "env": {"GREETING": "hello"},
        "servers": servers,
        "ssh": ssh,
    }


def answers(work: Path, state: str, place: str, *commands: str) -> None:
    """Run commands in this process, and keep what the server answers as templates for ``replay.pl``."""
    from infra.cli.app import app  # typer; imported late as the command line itself does

    directory = work / state
    directory.mkdir(exist_ok=True)
    plain = session.Session.run

    def recorded(self: Any, script: str, *args: Any, **options: Any) -> session.Output:
        output = plain(self, script, *args, **options)
        kind = hashlib.md5(" ".join(re.findall(r"begin (\w+)\\n", script)).encode(), usedforsecurity=False)
        nonce = re.findall(r"^nonce=(\w+)$", script, re.M)
        if nonce:
            (directory / kind.hexdigest()).write_text(template(output.stdout, nonce[0], place))
            for meta in re.findall(r"^meta (.*)$", output.stdout, re.M):
                (directory / "one").write_text(meta)
        return output

    here = Path.cwd()
    os.chdir(work)
    try:
        with mock.patch.object(session.Session, "run", recorded):
            for command in commands:
                app([command], standalone_mode=False)
    finally:
        os.chdir(here)


def template(text: str, nonce: str, place: str) -> str:
    machine = re.findall(r"^machine_id (\w+)$", text, re.M)
    text = re.sub(r"^meta .+$", "meta @META@", text, flags=re.M)
    text = re.sub(r"^hostname .*$", "hostname @NAME@", text, flags=re.M)
    hexadecimal = "".join(f"{int(part):02X}" for part in reversed(place.split(".")))
    for old, new in (
        (nonce, "@NONCE@"),
        (place, "@ADDRESS@"),
        (hexadecimal, "@HEX@"),
        *((m, "@MACHINE@") for m in machine),
    ):
        text = text.replace(old, new)
    return text


def record_of_all(work: Path, size: int, port: int) -> None:
    """The meta record that each of ``size`` servers has: it names all of them and their dynos."""
    meta = json.loads((work / "later/one").read_text())
    (connection,), (settings,) = meta["servers"].values(), meta["config"]["servers"].values()
    meta["servers"], meta["dynos"], meta["config"]["servers"] = {}, {}, {}
    meta["config"]["dynos"]["web"]["count"] = DYNOS * size
    for number, host in enumerate(hosts(size)):
        machine = hashlib.md5(host.encode(), usedforsecurity=False).hexdigest()
        own = {"name": f"n{number}", "host": host, "address": host, "port": str(port)}
        meta["servers"][machine] = {**connection, **own}
        meta["config"]["servers"][f"n{number}"] = {**settings, "name": f"n{number}", "host": host, "port": port}
        meta["dynos"] |= {f"web.{DYNOS * number + place}": machine for place in range(1, DYNOS + 1)}
    (work / "later/meta").write_text(json.dumps(meta, sort_keys=True))


@contextmanager
def sshd(work: Path) -> Iterator[int]:
    """One sshd on all addresses of the loopback, which replays ``work/now``. Yields its port."""
    port = 20000 + os.getpid() % 10000
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / name], check=True)
    replay = f"/usr/bin/perl {Path(__file__).parent / 'replay.pl'} {work / 'now'}"
    settings = {
        "Port": str(port),
        "ListenAddress": "0.0.0.0",  # noqa: S104 -- 127.0.0.0/8 as a whole
        "HostKey": str(work / "host"),
        "AuthorizedKeysFile": str(work / "key.pub"),
        "ForceCommand": replay,
        "PidFile": "none",
        "MaxStartups": "5000",
        "StrictModes": "no",
        "UseDNS": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "Match": "LocalPort 1",  # ends the settings that hold for all
    }
    (work / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", work / "sshd_config", "-E", work / "sshd.log"])
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def project(work: Path, size: int, port: int) -> None:
    servers = [{"name": f"n{number}", "host": host, "port": port} for number, host in enumerate(hosts(size))]
    key = " ".join((work / "host.pub").read_text().split()[:2])
    (work / "known_hosts").write_text("".join(f"[{host}]:{port} {key}\n" for host in hosts(size)))
    login = {"user": "root", "key": str(work / "key"), "known_hosts": str(work / "known_hosts")}
    (work / "dyno.yaml").write_text(json.dumps(manifest(servers, login)))
    record_of_all(work, size, port)


def replay(work: Path, state: str) -> None:
    (work / "now").unlink(missing_ok=True)
    (work / "now").symlink_to(state)


def measured(work: Path, size: int, port: int) -> Iterator[tuple[str, Cost]]:
    """Each command with ``size`` servers."""
    bare = [sys.executable, "-c", BARE, ",".join(hosts(size)), str(port), str(work / "key")]
    yield "bare paramiko", run(bare, work)
    for what, state, argv in (
        ("first plan", "first", ["plan"]),
        ("no-op plan", "later", ["plan"]),
        ("ps", "later", ["ps"]),
    ):
        replay(work, state)
        cost = run([DYNOCTL, *argv], work)
        lost = len(re.findall(r"[Uu]nreachable", cost.output))
        if lost or (what == "no-op plan" and "No changes." not in cost.output):
            raise SystemExit(f"{what} of {size} servers: {lost} unreachable\n{cost.output[:3000]}")
        yield what, cost


def peers(work: Path, size: int, port: int) -> Iterator[tuple[str, Cost]]:
    """The same servers with pyinfra, if the package index has it: a command that does nothing."""
    if not (PEERS / "bin/pyinfra").exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
        wanted = [PEERS / "bin/pip", "install", "--quiet", "pyinfra==3.10"]
        if subprocess.run(wanted, check=False).returncode != 0:
            say("pyinfra cannot be installed, and is left out")
            return
    data = f"{{'ssh_user': 'root', 'ssh_port': {port}, 'ssh_key': {str(work / 'key')!r}, "
    data += f"'ssh_known_hosts_file': {str(work / 'known_hosts')!r}}}"
    (work / "inventory.py").write_text(f"hosts = [(host, {data}) for host in {hosts(size)!r}]\n")
    yield "pyinfra exec", run([str(PEERS / "bin/pyinfra"), "-y", "inventory.py", "exec", "--", "true"], work)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(sizes: Sequence[int]) -> None:
    needs.check(install=False)
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        os.environ["XDG_STATE_HOME"] = str(work / "hints")
        (work / "app").mkdir()
        (work / "app/app.rb").write_text('App = ->(_) { [200, {}, ["hello"]] }\n')
        record(work)
        shutil.rmtree(work / "hints")
        replay(work, "first")
        with sshd(work) as port:
            print(f"{'what':<14} {'servers':>7} {'CPU':>8} {'per server':>10} {'memory':>8} {'wall':>8}")
            for size in sizes:
                project(work, size, port)
                for what, cost in (*measured(work, size, port), *peers(work, size, port)):
                    each = f"{cost.cpu / size * 1000:.1f} ms"
                    memory = f"{cost.memory >> 20} MiB"
                    print(
                        f"{what:<14} {size:>7} {cost.cpu:>6.1f} s {each:>10} {memory:>8} {cost.wall:>6.1f} s",
                        flush=True,
                    )


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or SIZES)
