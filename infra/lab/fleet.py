"""A whole lab: boot it, wait for it, look at it, take it down."""

from __future__ import annotations

import fcntl
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import keys, network, rootfs, server, services, state
from infra.lab.state import DATA, LabState, ServerState
from infra.remote.parallel import each

BOOT_TIMEOUT = 120
"""Seconds that a server has to boot; 32 of them share this machine's cores."""

Say = Callable[[str], None]


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One ``up`` or ``down`` of a lab at a time."""
    state.STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state.STATE / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(name: str, servers: int, say: Say) -> LabState:
    """Boot a lab of ``servers`` and the data server, or grow one; does nothing to what runs already."""
    if not 1 <= servers <= 32:
        raise DynoctlError("A lab has 1 to 32 servers")
    root = rootfs.ensure(say)
    with _alone(name):
        lab = state.load(name) or LabState(name, state.free_subnet(name), secrets.token_urlsafe(12))
        wanted = [DATA, *(f"grid-{number}" for number in range(1, servers + 1))]
        for one in wanted:
            if one not in lab.servers:
                lab.servers[one] = ServerState(one, state.number_of(one), secrets.token_hex(16))
        lab.save()
        network.up(lab)
        keys.make(lab)
        down = [one for one in wanted if not server.running(lab.servers[one])]
        if down:
            say(f"Booting {', '.join(down)} ...")
        for one in down:
            _start(lab, one, root)
        keys.write_known_hosts(lab)
        _files(lab)
        _wait(lab, wanted, say)
        if DATA in down:
            services.prepare(lab)
    return lab


def _start(lab: LabState, name: str, root: Path) -> None:
    network.attach(lab, name)
    merged = server.mount(lab, name, root)
    (merged / "etc/hostname").write_text(f"{name}\n")
    (merged / "etc/machine-id").write_text(f"{lab.servers[name].machine_id}\n")
    hosts = "".join(f"{lab.address(one)} {one}\n" for one in lab.servers)
    (merged / "etc/hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{hosts}")
    keys.host_key(lab, name)
    keys.install(lab, name, merged)
    if name == DATA:
        services.configure(lab, merged)
    server.boot(lab, name)


def _files(lab: LabState) -> None:
    """What a dyno.yaml and an ssh client can use."""
    for file, url in services.urls(lab).items():
        path = lab.path / file
        path.touch(mode=0o600)
        path.write_text(f"{url}\n")
    grid = [name for name in lab.servers if name != DATA]
    lines = ["servers:\n", *(f"  - {{name: {name}, host: {lab.address(name)}}}\n" for name in grid)]
    lines.append(f"ssh: {{user: root, key: {lab.path}/id_ed25519, known_hosts: {lab.path}/known_hosts}}\n")
    (lab.path / "inventory.yaml").write_text("".join(lines))
    blocks = [f"Host {name}\n  HostName {lab.address(name)}\n" for name in lab.servers]
    common = f"Host *\n  User root\n  IdentityFile {lab.path}/id_ed25519\n  IdentitiesOnly yes\n"
    strict = f"  UserKnownHostsFile {lab.path}/known_hosts\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
    (lab.path / "ssh_config").write_text("".join(blocks) + common + strict)


def _wait(lab: LabState, wanted: list[str], say: Say) -> None:
    results = each(lambda name: wait(lab, name), wanted)
    for name, result in results.items():
        if isinstance(result, DynoctlError):
            raise result
        if result != "running":
            say(f"{name} is {result}")


def wait(lab: LabState, name: str) -> str:
    """Wait until a server answers on its SSH port and has booted; give back what systemd says of it."""
    deadline = time.monotonic() + BOOT_TIMEOUT
    while True:
        try:
            with socket.create_connection((lab.address(name), 22), timeout=1) as connection:
                connection.settimeout(2)
                if connection.recv(4) == b"SSH-":
                    break
        except OSError:
            time.sleep(0.05)
        if not server.running(lab.servers[name]):
            raise DynoctlError(f"{name} ended while it booted", _console(lab, name))
        if time.monotonic() > deadline:
            raise DynoctlError(f"{name} did not answer within {BOOT_TIMEOUT} s", _console(lab, name))
    done = server.execute(lab, name, ["systemctl", "is-system-running", "--wait"], timeout=BOOT_TIMEOUT)
    word = done.stdout.strip()
    if word == "running":
        return word
    failed = server.execute(lab, name, ["systemctl", "--failed", "--plain", "--no-legend"]).stdout
    units = ", ".join(line.split()[0] for line in failed.splitlines() if line.strip())
    return f"{word or done.stderr.strip()} ({units})"


def _console(lab: LabState, name: str) -> str:
    try:
        return "\n".join((server.directory(lab, name) / "console.log").read_text(errors="replace").splitlines()[-8:])
    except OSError:
        return ""


def start(lab: LabState, name: str) -> None:
    """Boot one server again, with the filesystem it had, and wait for it."""
    _start(lab, name, rootfs.ensure(lambda _: None))
    wait(lab, name)


def down(name: str, say: Say) -> bool:
    """Remove a lab whole, whatever state it is in. False where there was none."""
    with _alone(name):
        lab = state.load(name)
        path = state.STATE / name
        if lab is None:
            if path.is_dir():
                shutil.rmtree(path)
            (state.STATE / f".{name}.lock").unlink(missing_ok=True)
            return False
        say(f"Taking down {', '.join(lab.servers)} ...")
        for result in each(lambda one: server.remove(lab, one), lab.servers).values():
            if isinstance(result, DynoctlError):
                raise result
        network.down(lab)
        shutil.rmtree(path, ignore_errors=True)
        (state.STATE / f".{name}.lock").unlink(missing_ok=True)
    return True


def get(name: str) -> LabState:
    """A lab that is there. Raises DynoctlError where there is none."""
    lab = state.load(name)
    if lab is None:
        raise DynoctlError(f"There is no lab called {name}", f"Boot it: dynoctl lab up --name {name}")
    return lab
