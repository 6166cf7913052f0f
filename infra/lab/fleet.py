"""A whole lab: boot it, reboot, cut and restore its servers, take it down."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import cgroups, files, keys, limits, network, processes, repository, rootfs, server, services, state
from infra.lab.state import BARE, DATA, MOST, MOST_BARE, LabState, ServerState
from infra.remote.parallel import each

BOOT_TIMEOUT = 120
"""Seconds that a server has to boot; 32 of them share this machine's cores."""

Say = Callable[[str], None]


def up(name: str, servers: int, say: Say, bare: int = 0) -> LabState:
    """Boot a lab of ``servers``, ``bare`` ones and the data server, or grow one; does nothing to what runs already."""
    state.check_name(name)
    if not 1 <= servers <= MOST or not 0 <= bare <= MOST_BARE:
        raise DynoctlError(f"A lab has 1 to {MOST} servers and up to {MOST_BARE} bare ones, not {servers} and {bare}")
    with _umask():
        rootfs.ensure(say)
        if bare:
            rootfs.ensure_bare(say)
    wanted = [DATA, *(f"grid-{number + 1}" for number in range(servers)), *(f"bare-{one + 1}" for one in range(bare))]
    with _alone(name, say), _umask():
        lab = _write_down(name, wanted, say)
        others = [one for one in lab.servers if one not in wanted]
        network.up(lab)
        keys.make(lab)
        files.write(lab)
        if lab.bare:
            repository.serve(lab, rootfs.ensure_bare(say))
        down = [one for one in wanted if not processes.running(lab.servers[one])]
        if down:
            say(f"Booting {listed(down)} ...")
        for one in lab.servers:
            if one in down:
                _start(lab, one)
            elif processes.running(lab.servers[one]):
                network.restore(lab, one)
                hosts = server.directory(lab, one) / "root/etc/hosts"
                if hosts.read_text() != files.hosts(lab):
                    hosts.write_text(files.hosts(lab))
        keys.write_known_hosts(lab)
        for one in wanted:
            word = wait(lab, one)
            if word != "running":
                say(f"{one} is {word}")
        if not lab.prepared:
            services.prepare(lab)
            lab.prepared = True
            lab.save()
        if not down:
            say(f"The lab {name} runs already: {listed(wanted)}.")
        if others:
            say(f"{listed(others)} stay as they are: up only adds. For fewer servers, take the lab down first.")
    return lab


def _write_down(name: str, wanted: Sequence[str], say: Say) -> LabState:
    """The lab's state with every server that it will have, on the disk before the first of them is made."""
    with _locked(state.STATE, say):
        lab = state.load(name)
        if lab is None:
            subnet = state.free_subnet(name, network.subnets_in_use())
            lab = LabState(name, subnet, secrets.token_urlsafe(12))
        for one in wanted:
            if one not in lab.servers:
                lab.servers[one] = ServerState(one, state.number_of(one), secrets.token_hex(16))
        lab.save()
        limits.lift(say)
    return lab


def _start(lab: LabState, name: str) -> None:
    """Boot a server from whatever a crash, a kill or a restart of this machine left of it."""
    one = lab.servers[name]
    server.stop(lab, name, hard=True)
    if one.root and not Path(one.root).is_dir():
        raise DynoctlError(
            f"The root that {name} was made from is gone: {one.root}",
            f"Make the lab anew: dynoctl lab down --name {lab.name}",
        )
    if not one.root:
        bare = name.startswith(BARE)
        one.root = str(rootfs.ensure_bare(_quiet) / "root" if bare else rootfs.ensure(_quiet))
        lab.save()
    network.attach(lab, name)
    merged = server.mount(lab, name, Path(one.root))
    (merged / "etc/hostname").write_text(f"{name}\n")
    (merged / "etc/machine-id").write_text(f"{one.machine_id}\n")
    (merged / "etc/hosts").write_text(files.hosts(lab))
    keys.install(lab, name, merged)
    if name == DATA:
        services.configure(lab, merged)
    elif name.startswith(BARE):
        (merged / "etc/apt/sources.list").write_text(repository.source(lab))
    server.boot(lab, name)


def wait(lab: LabState, name: str) -> str:
    """Wait until a server answers on its SSH port and has booted; give back what systemd says of it."""
    deadline = time.monotonic() + BOOT_TIMEOUT
    while not _answers(lab.address(name)):
        if not processes.running(lab.servers[name]):
            raise DynoctlError(f"{name} ended while it booted", server.last_words(lab, name))
        if time.monotonic() > deadline:
            raise DynoctlError(f"{name} did not answer within {BOOT_TIMEOUT} s", server.last_words(lab, name))
        time.sleep(0.05)
    done = server.execute(lab, name, ["systemctl", "is-system-running", "--wait"], timeout=BOOT_TIMEOUT)
    word = done.stdout.strip()
    if word == "running":
        return word
    failed = server.execute(lab, name, ["systemctl", "--failed", "--plain", "--no-legend"]).stdout
    units = ", ".join(line.split()[0] for line in failed.splitlines() if line.strip())
    return f"{word or done.stderr.strip()} ({units})"


def _answers(address: str) -> bool:
    with suppress(OSError), socket.create_connection((address, 22), timeout=1) as connection:
        connection.settimeout(2)
        return connection.recv(4) == b"SSH-"
    return False


def start(lab: LabState, name: str) -> None:
    """Boot one server again, with the filesystem it had, and wait for it; nothing happens where it runs."""
    with _alone(lab.name), _umask():
        _refresh(lab)
        if not processes.running(lab.servers[name]):
            network.up(lab)
            _start(lab, name)
    wait(lab, name)


def stop(lab: LabState, name: str) -> None:
    """Shut one server down in order; its filesystem stays."""
    with _alone(lab.name):
        _refresh(lab)
        server.stop(lab, name)
        lab.save()


def kill(lab: LabState, name: str) -> None:
    """Cut one server's power; its filesystem stays as it is at that moment."""
    with _alone(lab.name):
        _refresh(lab)
        server.stop(lab, name, hard=True)
        lab.save()


def reboot(lab: LabState, name: str) -> None:
    """``systemctl reboot`` inside a server, and wait until it is back."""
    _refresh(lab)
    before = processes.init(lab.servers[name])
    server.execute(lab, name, ["systemctl", "reboot"])
    deadline = time.monotonic() + BOOT_TIMEOUT
    while (now := processes.init(lab.servers[name])) is None or now == before:
        if not processes.running(lab.servers[name]):
            raise DynoctlError(f"{name} ended instead of rebooting", server.last_words(lab, name))
        if time.monotonic() > deadline:
            raise DynoctlError(f"{name} did not reboot within {BOOT_TIMEOUT} s", server.last_words(lab, name))
        time.sleep(0.05)
    wait(lab, name)


def cut(lab: LabState, name: str) -> None:
    """Pull a server's network cable: it runs on, and nobody hears of it."""
    network.cut(lab, name)


def restore(lab: LabState, name: str) -> None:
    """Plug a server's network cable in again."""
    network.restore(lab, name)


def down(name: str, say: Say) -> bool:
    """Remove a lab whole, whatever state it is in. False where there was none."""
    path = state.STATE / state.check_name(name)
    with _alone(name, say):
        there = path.is_dir()
        lab = state.load(name)
        if lab is not None:
            say(f"Taking down {listed(list(lab.servers))} ...")
            results = each(lambda one: server.remove(lab, one), lab.servers).values()
            repository.stop(lab)
            network.down(lab)
            cgroups.remove_lab(lab)
            for result in results:
                if isinstance(result, DynoctlError):
                    raise result
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            raise DynoctlError(f"{path} is still in use", "Something holds a file or a mount there; run it again.")
        (state.STATE / f".{name}.lock").unlink(missing_ok=True)
    rootfs.sweep()
    with _locked(state.STATE, say):
        if not state.names():
            limits.restore()
    return there


def get(name: str) -> LabState:
    """A lab that is there. Raises DynoctlError where there is none."""
    lab = state.load(name)
    if lab is None:
        raise DynoctlError(f"There is no lab called {name}", f"Boot it: dynoctl lab up --name {name}")
    return lab


def listed(servers: Sequence[str]) -> str:
    """Server names as one reads them: ``data, grid-1, grid-2, grid-4 to grid-8``."""
    grid = sorted(state.number_of(one) - 10 for one in servers if one.startswith("grid-"))
    words = [DATA] if DATA in servers else []
    while grid:
        end = 0
        while end + 1 < len(grid) and grid[end + 1] == grid[end] + 1:
            end += 1
        if end >= 2:
            words.append(f"grid-{grid[0]} to grid-{grid[end]}")
        else:
            words += [f"grid-{number}" for number in grid[: end + 1]]
        del grid[: end + 1]
    return ", ".join([*words, *(one for one in servers if one.startswith(BARE))])


def _quiet(_: str) -> None:
    """For what was built long before."""


def _refresh(lab: LabState) -> None:
    """Take over what another process did to the lab meanwhile."""
    lab.servers = get(lab.name).servers


@contextmanager
def _umask() -> Iterator[None]:
    """What is made for the servers is made as a server needs it, however private root's own files are here."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _alone(name: str, say: Say = lambda _: None) -> Iterator[None]:
    """One at a time changes a lab."""
    state.STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = state.STATE / f".{name}.lock"
    while True:
        with _locked(path, say) as lock:
            # A ``down`` may have removed the file while we waited for it: then the lock is on a file that nobody sees.
            try:
                current = os.path.samestat(os.fstat(lock), path.stat())
            except FileNotFoundError:
                current = False
            if current:
                yield
                return


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[int]:
    """A lock on a file or directory. It ends with its process, however that ends."""
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if path.is_dir() else os.O_CREAT), 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another dynoctl that works on this lab ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)
