"""The replayed fleet: one sshd on as many addresses of the loopback as there are servers, which answers with what one
real server of a lab answered."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from infra.lab import fleet as labs
from infra.lab.state import DATA
from infra.remote import session
from tests.bench.cost import run
from tests.bench.tools import DYNOCTL, say

LAB = "bench-fleet"
DYNOS = 4
"""Dynos on each server."""

HERE = Path(__file__).parent


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


def manifest(servers: list[dict[str, Any]], ssh: Mapping[str, Any]) -> dict[str, Any]:
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
    """One sshd on all addresses of the loopback. On the port that it yields, it replays ``work/now``; on the next one,
    it does what Ansible and pyinfra ask."""
    port = 20000 + os.getpid() % 10000
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / name], check=True)
    settings = [
        f"Port {port}",
        f"Port {port + 1}",
        f"ForceCommand /usr/bin/perl {HERE / 'replay.pl'} {work / 'now'}",
        "MaxStartups 5000",
        f"Match LocalPort {port + 1}",
        f"ForceCommand /usr/bin/perl {HERE / 'peers.pl'} {work / 'home'}",
    ]
    (work / "home").mkdir()
    with _serving(work, "sshd", settings):
        yield port


@contextmanager
def gateway(work: Path, port: int) -> Iterator[int]:
    """A jump host on a port of its own with the limits that sshd has by default."""
    with _serving(work, "gateway", [f"Port {port + 2}"]):
        yield port + 2


@contextmanager
def _serving(work: Path, name: str, settings: list[str]) -> Iterator[None]:
    common = [
        "ListenAddress 0.0.0.0",  # 127.0.0.0/8 as a whole
        f"HostKey {work / 'host'}",
        f"AuthorizedKeysFile {work / 'key.pub'}",
        "PidFile none",
        "StrictModes no",
        "UseDNS no",
        "UsePAM no",
        "PermitRootLogin yes",
    ]
    path = work / f"{name}.config"
    path.write_text("\n".join([*common, *settings, ""]))
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", path, "-E", work / f"{name}.log"])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def project(work: Path, size: int, port: int, behind: Mapping[str, Any] | None = None) -> None:
    """Write the manifest of ``size`` servers; ``behind`` are more settings of its ssh section."""
    servers = [{"name": f"n{number}", "host": host, "port": port} for number, host in enumerate(hosts(size))]
    key = " ".join((work / "host.pub").read_text().split()[:2])
    names = [f"[{host}]:{port + more}" for host in hosts(size) for more in (0, 1)]
    (work / "known_hosts").write_text("".join(f"{name} {key}\n" for name in [*names, f"[127.0.0.1]:{port + 2}"]))
    login = {"user": "root", "key": str(work / "key"), "known_hosts": str(work / "known_hosts")}
    (work / "dyno.yaml").write_text(json.dumps(manifest(servers, {**login, **(behind or {})})))
    record_of_all(work, size, port)


def replay(work: Path, state: str) -> None:
    (work / "now").unlink(missing_ok=True)
    (work / "now").symlink_to(state)
