"""Boot a lab, reboot, disconnect and reconnect its servers, and take it down."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import (
    cgroups,
    files,
    keys,
    limits,
    locks,
    network,
    processes,
    repository,
    rootfs,
    server,
    services,
    sources,
    state,
)
from infra.lab.state import BARE, DATA, MOST, MOST_BARE, LabState, ServerState
from infra.remote.parallel import each

BOOT_TIMEOUT = 120
"""Timeout for booting a server in seconds. Up to 32 servers share the cores of the local machine."""

Say = Callable[[str], None]


def up(name: str, servers: int, say: Say, bare: int = 0, releases: Sequence[str] = ()) -> LabState:
    """Boot a lab of ``servers``, ``bare`` servers and the data server, or add servers to a running lab.

    New servers run the Debian ``releases`` in turn: without any, those of the lab, or that of the local machine."""
    state.check_name(name)
    if not 1 <= servers <= MOST or not 0 <= bare <= MOST_BARE:
        raise DynoctlError(
            f"invalid number of servers: {servers}, and {bare} bare servers",
            f"use 1 to {MOST} servers and at most {MOST_BARE} bare servers",
        )
    with _umask():
        local, planned = sources.suite(), _releases(name, releases)
        for release in dict.fromkeys((local, *planned[:servers])):
            rootfs.ensure(release, say)
        for release in planned[:bare]:
            rootfs.ensure_bare(release, say)
    wanted = [
        DATA,
        *(f"grid-{number + 1}" for number in range(servers)),
        *(f"bare-{number + 1}" for number in range(bare)),
    ]
    with locks.lab(name, say), _umask():
        lab = _save_servers(name, wanted, say, planned)
        others = [server_name for server_name in lab.servers if server_name not in wanted]
        network.up(lab)
        keys.make(lab)
        files.write(lab)
        if lab.bare:
            released = {lab.servers[server_name].release for server_name in lab.bare}
            repository.serve(lab, {release: rootfs.ensure_bare(release, say) for release in sorted(released)})
        down = [server_name for server_name in wanted if not processes.running(lab.servers[server_name])]
        if down:
            say(f"Booting {listed(down)} ...")
        for server_name in lab.servers:
            if server_name in down:
                _start(lab, server_name)
            elif processes.running(lab.servers[server_name]):
                network.restore(lab, server_name)
                hosts = server.directory(lab, server_name) / "root/etc/hosts"
                if hosts.read_text() != files.hosts(lab):
                    hosts.write_text(files.hosts(lab))
        keys.write_known_hosts(lab)
        for server_name in wanted:
            status = wait(lab, server_name)
            if status != "running":
                say(f"{server_name} is {status}")
        if not lab.prepared:
            services.prepare(lab)
            lab.prepared = True
            lab.save()
        if not down:
            say(f"Lab {name} is already running: {listed(wanted)}.")
        if releases and (kept := [each for each in wanted if each != DATA and _differs(lab, each)]):
            say(f"Not changed: {listed(kept)} of another Debian release. To get new servers, take the lab down first.")
        if others:
            say(f"Not changed: {listed(others)}. lab up never removes servers; dynoctl lab down removes all of them.")
    return lab


def _releases(name: str, asked: Sequence[str]) -> tuple[str, ...]:
    """The releases that new servers get: those that are asked for, those of the lab, or that of the local machine."""
    lab = None if asked else state.load(name)
    return sources.check(asked) if lab is None else lab.releases or sources.check(())


def _differs(lab: LabState, name: str) -> bool:
    return lab.servers[name].release != lab.release_of(name)


def _save_servers(name: str, wanted: Sequence[str], say: Say, releases: tuple[str, ...]) -> LabState:
    """The state of the lab with all its servers, saved before the first of them is created."""
    with locks.held(state.STATE, say):
        lab = state.load(name)
        if lab is None:
            subnet = state.free_subnet(name, network.subnets_in_use())
            lab = LabState(name, subnet, secrets.token_urlsafe(12))
        local = sources.suite()
        lab.releases = releases
        for server_name in wanted:
            if server_name not in lab.servers:
                number = state.number_of(server_name)
                # The services are installed in the release of the local machine only.
                release = local if server_name == DATA else lab.release_of(server_name)
                lab.servers[server_name] = ServerState(server_name, number, secrets.token_hex(16), release)
            lab.servers[server_name].release = lab.servers[server_name].release or local
        lab.save()
        limits.lift(say)
    return lab


def _start(lab: LabState, name: str) -> None:
    """Boot a server, also after a crash, a kill or a restart of the local machine."""
    entry = lab.servers[name]
    server.stop(lab, name, hard=True)
    base = _root(entry, _quiet)
    if not base.is_dir():
        raise DynoctlError(
            f"root filesystem of {name} not found: {entry.root}",
            f"recreate the lab: dynoctl lab down --name {lab.name}",
        )
    if not entry.root:
        entry.root = str(base)
        lab.save()
    network.attach(lab, name)
    merged = server.mount(lab, name, base)
    (merged / "etc/hostname").write_text(f"{name}\n")
    (merged / "etc/machine-id").write_text(f"{entry.machine_id}\n")
    (merged / "etc/hosts").write_text(files.hosts(lab))
    keys.install(lab, name, merged)
    if name == DATA:
        services.configure(lab, merged)
    elif name.startswith(BARE):
        (merged / "etc/apt/sources.list").write_text(repository.source(lab, entry.release))
    server.boot(lab, name)


def _root(entry: ServerState, say: Say) -> Path:
    """The root filesystem that a server was created from, or the one of its release, which is built if missing."""
    if entry.root:
        return Path(entry.root)
    if entry.name.startswith(BARE):
        return rootfs.ensure_bare(entry.release, say) / "root"
    return rootfs.ensure(entry.release, say)


def wait(lab: LabState, name: str) -> str:
    """Wait until a server has booted and its SSH port answers. Returns its state as systemd reports it."""
    deadline = time.monotonic() + BOOT_TIMEOUT
    while not _answers(lab.address(name)):
        if not processes.running(lab.servers[name]):
            raise DynoctlError(f"{name} stopped while booting", server.last_log_lines(lab, name))
        if time.monotonic() > deadline:
            raise DynoctlError(f"booting {name} timed out after {BOOT_TIMEOUT} s", server.last_log_lines(lab, name))
        time.sleep(0.05)
    done = server.execute(lab, name, ["systemctl", "is-system-running", "--wait"], timeout=BOOT_TIMEOUT)
    status = done.stdout.strip()
    if status == "running":
        return status
    failed = server.execute(lab, name, ["systemctl", "--failed", "--plain", "--no-legend"]).stdout
    units = ", ".join(line.split()[0] for line in failed.splitlines() if line.strip())
    return f"{status or done.stderr.strip()} ({units})"


def _answers(address: str) -> bool:
    with suppress(OSError), socket.create_connection((address, 22), timeout=1) as connection:
        connection.settimeout(2)
        return connection.recv(4) == b"SSH-"
    return False


def start(lab: LabState, name: str) -> None:
    """Boot a stopped server with its filesystem, and wait for it. Does nothing if it is running."""
    with locks.lab(lab.name), _umask():
        _refresh(lab)
        if not processes.running(lab.servers[name]):
            network.up(lab)
            _start(lab, name)
    wait(lab, name)


def stop(lab: LabState, name: str) -> None:
    """Shut a server down cleanly. Its filesystem is kept."""
    with locks.lab(lab.name):
        _refresh(lab)
        server.stop(lab, name)
        lab.save()


def kill(lab: LabState, name: str) -> None:
    """Stop a server like a power failure. Its filesystem is kept."""
    with locks.lab(lab.name):
        _refresh(lab)
        server.stop(lab, name, hard=True)
        lab.save()


def reboot(lab: LabState, name: str) -> None:
    """Run ``systemctl reboot`` in a server, and wait until it has booted."""
    _refresh(lab)
    before = processes.init(lab.servers[name])
    server.execute(lab, name, ["systemctl", "reboot"])
    deadline = time.monotonic() + BOOT_TIMEOUT
    while (now := processes.init(lab.servers[name])) is None or now == before:
        if not processes.running(lab.servers[name]):
            raise DynoctlError(f"{name} stopped instead of rebooting", server.last_log_lines(lab, name))
        if time.monotonic() > deadline:
            raise DynoctlError(f"rebooting {name} timed out after {BOOT_TIMEOUT} s", server.last_log_lines(lab, name))
        time.sleep(0.05)
    wait(lab, name)


def cut(lab: LabState, name: str) -> None:
    """Disconnect a server from the network. It keeps running."""
    network.cut(lab, name)


def restore(lab: LabState, name: str) -> None:
    """Reconnect a server to the network."""
    network.restore(lab, name)


def down(name: str, say: Say) -> bool:
    """Remove a lab, whatever state it is in. Returns False if there was none."""
    path = state.STATE / state.check_name(name)
    with locks.lab(name, say):
        existed = path.is_dir()
        lab = state.load(name)
        if lab is not None:
            say(f"Taking down {listed(list(lab.servers))} ...")
            results = each(lambda server_name: server.remove(lab, server_name), lab.servers).values()
            repository.stop(lab)
            network.down(lab)
            cgroups.remove_lab(lab)
            for result in results:
                if isinstance(result, DynoctlError):
                    raise result
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            raise DynoctlError(
                f"cannot remove {path}: it is in use", "close open files and mounts in it, then run the command again"
            )
        (state.STATE / f".{name}.lock").unlink(missing_ok=True)
    rootfs.sweep()
    with locks.held(state.STATE, say):
        if not state.names():
            limits.restore()
    return existed


def get(name: str) -> LabState:
    """The lab with this name. Raises DynoctlError if there is none."""
    lab = state.load(name)
    if lab is None:
        raise DynoctlError(f"lab {name} not found", f"dynoctl lab up --name {name}")
    return lab


def listed(servers: Sequence[str]) -> str:
    """Server names as text, with ranges: ``data, grid-1, grid-2, grid-4 to grid-8``."""
    grid = sorted(state.number_of(name) - 10 for name in servers if name.startswith("grid-"))
    parts = [DATA] if DATA in servers else []
    while grid:
        end = 0
        while end + 1 < len(grid) and grid[end + 1] == grid[end] + 1:
            end += 1
        if end >= 2:
            parts.append(f"grid-{grid[0]} to grid-{grid[end]}")
        else:
            parts += [f"grid-{number}" for number in grid[: end + 1]]
        del grid[: end + 1]
    return ", ".join([*parts, *(name for name in servers if name.startswith(BARE))])


def _quiet(_: str) -> None:
    """Discard progress messages."""


def _refresh(lab: LabState) -> None:
    """Load the servers again, which another process may have changed."""
    lab.servers = get(lab.name).servers


@contextmanager
def _umask() -> Iterator[None]:
    """Create the files of servers with umask 022, independently of the umask of the local root user."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)
