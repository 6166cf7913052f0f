"""The lab itself: its servers are real, and whatever happens to it, it leaves nothing behind."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from infra.lab import cgroups, state
from infra.lab import fleet as labs
from tests.lab.support import eventually, let_pass

DYNOCTL = Path(sys.executable).parent / "dynoctl"


def dynoctl(*argv: str, code: int = 0, stdin: str = "", path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    done = subprocess.run(
        [DYNOCTL, *argv], input=stdin, capture_output=True, text=True, timeout=200, check=False, env=environment
    )
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def pids(fleet: Any) -> dict[str, int]:
    lab = labs.get(fleet.path.name)
    return {name: server.pid for name, server in lab.servers.items()}


def residue(name: str, subnet: int) -> list[str]:
    """Everything on this machine that is a lab's."""
    found = [line for line in Path("/proc/mounts").read_text().splitlines() if f"-lab/{name}/" in line]
    found += [str(path) for path in Path("/run/netns").glob(f"dynolab-{name}-*")]
    found += [str(path) for path in Path("/run/systemd/nspawn/propagate").glob(f"{name}-*")]
    links = [*Path("/sys/class/net").glob(f"dl{subnet}-*"), Path(f"/sys/class/net/dynolab{subnet}")]
    groups = [root / "dynolab" / name for root in cgroups.hierarchies()]
    state_files = [state.STATE / name, state.STATE / f".{name}.lock"]
    found += [str(path) for path in [*links, *groups, *state_files] if path.exists()]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"-lab/{name}/".encode() in process.read_bytes():
                found.append(process.read_bytes().decode())
    return found


@pytest.fixture
def other(fleet: Any) -> Iterator[str]:
    """The name of one more lab, gone after the test whatever happened. (``fleet``: its root is built.)"""
    name = f"{fleet.path.name}-crash"
    labs.down(name, lambda _: None)
    yield name
    labs.down(name, lambda _: None)


def test_up_again_changes_nothing_and_says_so(fleet: Any) -> None:
    before, size, name = pids(fleet), len(fleet.names), fleet.path.name
    done = dynoctl("lab", "up", "--name", name, "--servers", str(size))
    assert f"Lab {name} is already running: data, grid-1 to grid-{size}." in done.stderr
    assert done.stdout == (fleet.path / "inventory.yaml").read_text()
    done = dynoctl("lab", "up", "--name", name, "--servers", "1")
    assert "lab up never removes servers" in done.stderr
    assert pids(fleet) == before


def test_two_ups_at_once_make_one_lab(fleet: Any) -> None:
    before, name = pids(fleet), fleet.path.name
    fleet.kill("grid-2")
    argv = [DYNOCTL, "lab", "up", "--name", name, "--servers", "3"]
    both = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=180)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sum("Booting grid-2" in words for words in said) == 1
    assert {**pids(fleet), "grid-2": 0} == {**before, "grid-2": 0}


def test_status_exec_and_ssh(fleet: Any) -> None:
    name = fleet.path.name
    document = json.loads(dynoctl("lab", "status", "--name", name, "--json").stdout)
    rows = {row["name"]: row for row in document["servers"]}
    assert [row for row in rows if not row.startswith("bare-")] == ["data", *fleet.names]  # other tests have bare ones
    assert all(row["state"] == "running" and row["memory_bytes"] > 2**20 for row in rows.values())
    assert "grid-1" in dynoctl("lab", "status", "--name", name).stdout
    run = ("lab", "exec", "--name", name, "grid-1")
    assert dynoctl(*run, "cat", "-", stdin="a\nb").stdout == "a\nb"
    done = dynoctl("lab", "exec", "grid-1", "--name", name, "--", "sh", "-c", "pwd; exit 7", code=7)
    assert (done.stdout, done.stderr) == ("/\n", "")
    assert dynoctl("lab", "ssh", "--name", name, "grid-1", "hostname; exit 9", code=9).stdout == "grid-1\n"
    wrong = dynoctl("lab", "exec", "--name", name, "grid-77", "true", code=1).stderr
    assert "has no server grid-77" in wrong
    assert "lab nowhere not found" in dynoctl("lab", "status", "--name", "nowhere", code=1).stderr


def test_known_hosts_are_exact(fleet: Any, tmp_path: Path) -> None:
    lines = fleet.known_hosts.read_text().splitlines()
    for name in fleet.names:
        key = fleet.exec(name, "cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout.split()
        assert f"{fleet.address(name)} {key[0]} {key[1]}" in lines
    assert len({line.split()[2] for line in lines}) == len(lines)
    wrong = tmp_path / "known_hosts"
    one, two = (next(line for line in lines if line.startswith(fleet.address(f"grid-{n}") + " ")) for n in (1, 2))
    wrong.write_text(f"{one.split()[0]} {' '.join(two.split()[1:])}\n")
    for hosts, code in ((fleet.known_hosts, 0), (wrong, 255)):
        ssh = ["ssh", "-F", "none", "-i", fleet.key, "-o", f"UserKnownHostsFile={hosts}", "-o", "BatchMode=yes"]
        done = subprocess.run([*ssh, f"root@{fleet.address('grid-1')}", "true"], check=False, capture_output=True)
        assert done.returncode == code, done.stderr


def test_a_login_that_is_not_root_and_a_locale_that_is_not_english(fleet: Any) -> None:
    ssh = ["ssh", "-F", str(fleet.path / "ssh_config"), "-o", "SendEnv=LC_ALL", "-l", "deploy", "grid-1"]
    done = subprocess.run(
        [*ssh, "id -un; sudo -n id -un; ls /nowhere"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "tr_TR.UTF-8"},
    )
    assert done.stdout == "deploy\nroot\n"
    assert "Böyle bir dosya ya da dizin yok" in done.stderr
    fleet.exec("grid-1", "tee", "/etc/default/locale", input="LANG=tr_TR.UTF-8\n")  # now it is the server's own
    try:
        ssh = ["ssh", "-F", str(fleet.path / "ssh_config"), "grid-1", "ls /nowhere"]
        done = subprocess.run(ssh, check=False, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        assert "Böyle bir dosya ya da dizin yok" in done.stderr
    finally:
        fleet.exec("grid-1", "rm", "/etc/default/locale")


BURN = """\
[Service]
ExecStart=/bin/sh -c 'while :; do :; done'
CPUQuota=25%
[Install]
WantedBy=multi-user.target
"""


def share(fleet: Any, server: str, unit: str) -> float:
    """Percent of a core that a unit's main process gets."""
    look = 'set -- $(cat /proc/$(systemctl show --property MainPID --value "$0")/stat); echo "${14} ${15}"'
    eventually(lambda: sum(map(int, fleet.exec(server, "bash", "-c", look, unit).stdout.split())) > 20)

    def used() -> int:
        return sum(map(int, fleet.exec(server, "bash", "-c", look, unit).stdout.split()))

    # The clock is read outside of the looks, so that a slow look makes the share smaller and never larger.
    start, before = time.monotonic(), used()
    let_pass(3, "the share is measured over these seconds")
    after, end = used(), time.monotonic()
    return float((after - before) / os.sysconf("SC_CLK_TCK") / (end - start) * 100)


def test_a_cpu_quota_holds_and_a_reboot_keeps_units_files_and_quotas(fleet: Any) -> None:
    fleet.exec("grid-1", "tee", "/etc/systemd/system/burn.service", input=BURN)
    fleet.exec("grid-1", "systemctl", "enable", "--now", "burn.service")
    try:
        assert share(fleet, "grid-1", "burn.service") <= 28, "never more than its quota"
        fleet.exec("grid-1", "tee", "/var/lib/kept", input="kept")
        boot = fleet.exec("grid-1", "systemctl", "show", "--property", "UserspaceTimestampMonotonic").stdout
        fleet.reboot("grid-1")
        assert fleet.exec("grid-1", "systemctl", "show", "--property", "UserspaceTimestampMonotonic").stdout != boot
        assert fleet.exec("grid-1", "cat", "/var/lib/kept").stdout == "kept"
        assert fleet.exec("grid-1", "systemctl", "is-active", "burn.service").stdout == "active\n"
        assert share(fleet, "grid-1", "burn.service") <= 28, "never more than its quota"
    finally:
        fleet.exec("grid-1", "systemctl", "disable", "--now", "burn.service")
        fleet.exec("grid-1", "rm", "-f", "/etc/systemd/system/burn.service", "/var/lib/kept")


def test_power_cut_shutdown_and_a_pulled_cable(fleet: Any) -> None:
    fleet.exec("grid-2", "tee", "/var/lib/kept", input="kept")
    for end in (fleet.kill, fleet.stop):
        end("grid-2")
        rows = json.loads(dynoctl("lab", "status", "--name", fleet.path.name, "--json").stdout)["servers"]
        assert [(row["state"], row["processes"]) for row in rows if row["name"] == "grid-2"] == [("stopped", 0)]
        assert "grid-2 is not running" in dynoctl("lab", "exec", "--name", fleet.path.name, "grid-2", code=1).stderr
        fleet.start("grid-2")
        assert fleet.exec("grid-2", "cat", "/var/lib/kept").stdout == "kept"
    fleet.cut("grid-2")
    with pytest.raises(OSError):
        socket.create_connection((fleet.address("grid-2"), 22), timeout=0.5)  # a cable that is pulled answers never
    fleet.restore("grid-2")
    socket.create_connection((fleet.address("grid-2"), 22), timeout=60).close()


RUBY = {
    "database_url": 'require "pg"; puts PG.connect(ARGV[0]).exec("SELECT 6 * 7").getvalue(0, 0)',
    "cache_url": 'require "redis"; r = Redis.new(url: ARGV[0]); r.set("lab", 42); puts r.get("lab"); r.del("lab")',
    "mysql_url": (
        'require "mysql2"; require "uri"; u = URI(ARGV[0]);'
        " m = Mysql2::Client.new(host: u.host, username: u.user, password: u.password, database: u.path[1..]);"
        ' puts m.query("SELECT 6 * 7 AS n").first["n"]'
    ),
    "memcached": (
        'require "dalli"; m = Dalli::Client.new(ARGV[0].delete_prefix("memcached://"));'
        ' m.set("lab", 42); puts m.get("lab")'
    ),
}


@pytest.mark.parametrize("kind", RUBY)
def test_services_answer_from_a_server(fleet: Any, kind: str) -> None:
    assert fleet.exec("grid-3", "ruby", "-e", RUBY[kind], fleet.url(kind)).stdout == "42\n"


@pytest.mark.parametrize(
    ("port", "ask", "answer"),
    [(5432, b"\0\0\0\x08\x04\xd2\x16\x2f", b"S"), (6379, b"PING\r\n", b"+PONG"), (11211, b"version\r\n", b"VERSION")],
)
def test_services_answer_from_this_machine(fleet: Any, port: int, ask: bytes, answer: bytes) -> None:
    with socket.create_connection((fleet.address("data"), port), timeout=60) as connection:
        connection.sendall(ask)
        assert connection.recv(100)[: len(answer)] == answer


def bound(name: str) -> set[str]:
    """The loop devices that a file of this name is bound to, in whatever namespace."""
    found = set()
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # one that was freed just now
            if path.read_text().strip().endswith(f"/{name}"):
                found.add(path.parts[3])
    return found


def test_a_power_cut_frees_the_servers_loop_devices_and_no_other(fleet: Any, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/word").write_text("sealed")
    image = tmp_path / f"image-{secrets.token_hex(4)}.squashfs"  # others of this machine have loop devices, too
    subprocess.run(["mksquashfs", tmp_path / "tree", image, "-quiet", "-no-progress"], check=True)
    foreign = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    device = foreign.stdout.strip()
    try:
        before = bound(image.name)
        home = state.STATE / fleet.path.name / "servers/grid-3/root/var/lib"
        (home / image.name).write_bytes(image.read_bytes())
        script = f"""
            mkdir -p /mnt/one /run/two && mount -t squashfs -o loop,ro /var/lib/{image.name} /mnt/one
            cat /mnt/one/word; cp /var/lib/{image.name} /run/two && losetup --find /run/two/{image.name}
            losetup --find /var/lib/{image.name}
        """
        assert fleet.exec("grid-3", "sh", "-ec", script).stdout == "sealed"
        assert len(bound(image.name)) == len(before) + 3
        fleet.kill("grid-3")
        assert bound(image.name) & before == before
        assert len(bound(image.name)) == len(before)
        assert image.name in Path(f"/sys/block/{Path(device).name}/loop/backing_file").read_text()
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        fleet.start("grid-3")


KILLED = """
import os, signal, subprocess, sys
from infra.lab import fleet
left, name = int(sys.argv[1]), sys.argv[2]
def counted(real):
    def call(*argv, **keys):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*argv, **keys)
    return call
subprocess.run = counted(subprocess.run)
os.posix_spawnp = counted(os.posix_spawnp)
os.fsync = counted(os.fsync)
fleet.up(name, 2, lambda _: None)
"""


def test_killed_anywhere_in_up_and_then_down_leaves_nothing(other: str, soak: bool) -> None:
    for point in range(1, 200) if soak else (1, 3, 6, 9, 12, 14, 17, 20, 26, 31):
        argv = [sys.executable, "-c", KILLED, str(point), other]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=100)
        lab = state.load(other)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        dynoctl("lab", "down", "--name", other)
        assert residue(other, lab.subnet if lab else 255) == [], f"killed at {point}"
        if done.returncode == 0:
            assert soak
            return


def test_killed_in_up_and_then_up_again_is_a_whole_lab(other: str) -> None:
    argv = [sys.executable, "-c", KILLED, "16", other]
    assert subprocess.run(argv, check=False, timeout=100).returncode == -signal.SIGKILL
    dynoctl("lab", "up", "--name", other, "--servers", "1")
    lab = labs.get(other)
    inside = dynoctl("lab", "exec", "--name", other, "grid-1", "ruby", "-e", RUBY["database_url"], "--", database(lab))
    assert inside.stdout == "42\n"
    # A server that hangs: its PID 1 does not even take signals. And a state whose pids are strangers' by now.
    for group in cgroups.processes(lab, "grid-1"):
        os.kill(group, signal.SIGSTOP)
    lab.servers["data"].pid = os.getpid()
    lab.save()
    assert residue(other, lab.subnet)
    assert f"Lab {other} is down." in dynoctl("lab", "down", "--name", other).stderr
    assert residue(other, lab.subnet) == []
    assert f"No lab called {other}." in dynoctl("lab", "down", "--name", other).stderr


def database(lab: state.LabState) -> str:
    return (lab.path / "database_url").read_text().strip()


def fake(directory: Path, script: str) -> str:
    """A PATH on which systemd-nspawn is something else."""
    program = directory / "systemd-nspawn"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def test_a_container_that_crashes_is_said_with_its_last_words(other: str, tmp_path: Path) -> None:
    path = fake(tmp_path, "echo the kernel said no >&2; exit 1")
    done = dynoctl("lab", "up", "--name", other, "--servers", "1", code=1, path=path)
    assert "data stopped while booting\nhint: the kernel said no" in done.stderr


def test_interrupting_up_stops_at_once_and_down_cleans_up(other: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": fake(tmp_path, "exec sleep 1000")}
    # A shell that starts its jobs in the background has them ignore the signal.
    argv = ["env", "--default-signal=INT", DYNOCTL, "lab", "up", "--name", other, "--servers", "1"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=environment)
    lab = eventually(lambda: (lab := state.load(other)) and lab.servers["grid-1"].pid and lab)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"dynoctl lab down --name {other}" in said
    dynoctl("lab", "down", "--name", other)
    assert residue(other, lab.subnet) == []
