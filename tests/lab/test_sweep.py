"""Applies of every kind that are killed or hit by a fault at a random moment: one more apply must reach "No changes"."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError
from tests.lab.load import Load
from tests.lab.support import APPS, Project, eventually, get, let_pass, snapshot

SEED = int(os.environ.get("SWEEP_SEED", "2009"))
KILLS, FAULTS = 100, 40
"""With --soak."""

PORT = 8090
HOME = "/var/lib/dynoctl/sweep"
ROOM = 8 << 20
"""Bytes that a disk has left until it is full."""

FILL = "head -c 1G /dev/zero > /root/small/fill; :"


class Sweep:
    """An app with web dynos, a worker, a schedule and a router; ``random`` decides what changes, when and how it is
    interrupted."""

    def __init__(self, app: Project, fleet: Any, seed: int) -> None:
        self.app, self.fleet, self.random = app, fleet, random.Random(seed)
        self.seconds = 4.0
        """How long an apply without a fault took last."""
        self._round = 0

    def release(self) -> None:
        self._round += 1
        (self.app.source / "round").write_text(str(self._round))

    def first(self) -> None:
        self.app.destroy()

    def up(self) -> None:
        dynos = self.app.manifest["dynos"]
        dynos["web"] = 5 if dynos["web"] > 3 else dynos["web"] + self.random.randint(1, 2)
        dynos["worker"]["count"] = 3 - dynos["worker"]["count"]

    def down(self) -> None:
        dynos = self.app.manifest["dynos"]
        dynos["web"] = max(1, dynos["web"] - self.random.randint(1, 2))
        dynos["worker"]["count"] = 3 - dynos["worker"]["count"]

    def drain(self) -> None:
        """Another server is emptied, and the one before takes dynos again."""
        self._drain(self.random.choice([one["name"] for one in self.app.manifest["servers"] if "drain" not in one]))

    def move_schedule(self) -> None:
        self._drain(self.app.ps()["tick.1"]["server"])

    def _drain(self, name: str) -> None:
        for server in self.app.manifest["servers"]:
            server.pop("drain", None)
            if server["name"] == name:
                server["drain"] = True

    def route(self) -> None:
        router = self.app.manifest["router"]
        if self.random.random() < 0.5:
            router["kind"] = "haproxy" if router["kind"] == "nginx" else "nginx"
        else:
            router["servers"] = [self.random.choice(self.fleet.names)]
        router["timeout"] = self.random.randint(5, 50)

    def rollback(self) -> None:
        self.release()
        self.app.apply()

    def destroy(self) -> None:
        """Nothing changes before it."""

    SHORT = (up, release, down, drain, route, move_schedule)
    KINDS = (*SHORT, first, rollback, destroy)

    def argv(self, kind: Callable[[Sweep], None]) -> tuple[str, ...]:
        name = kind.__name__
        return (name if name in ("rollback", "destroy") else "apply", "--auto-approve", "--lock-timeout", "60")

    def kill(self, kind: Callable[[Sweep], None]) -> str:
        """Begin a change and kill it; what answered before answers all the time, if the change lets it."""
        kind(self)
        rows = [row for row in self.app.ps().values() if row["port"]] if kind in (Sweep.up, Sweep.release) else []
        moment = self.random.uniform(0.2, self.seconds)
        with Load(rows, "/") as load:
            process = self.app.start(*self.argv(kind))
            let_pass(moment, "the moment of the kill is a random one")
            process.kill()
            process.communicate()
        assert load.failures == [], f"{load.failures[:3]} of {load.count} after a kill at {moment:.2f} s"
        return f"kill at {moment:.2f} s"

    def fault(self, kind: Callable[[Sweep], None], fault: Callable[[Sweep, str], Any]) -> str:
        """Begin a change, and let something break while it is under way. What it reports is for other tests."""
        kind(self)
        if kind is Sweep.first and fault is Sweep.full_disk:
            fault = Sweep.power_cut  # there is no disk yet that could be full
        moment, server = self.random.uniform(0.2, self.seconds), self.random.choice(self.fleet.names)
        with fault(self, server) as strike:
            process = self.app.start(*self.argv(kind))
            done = threading.Thread(target=process.communicate)
            done.start()
            let_pass(moment, "the moment of the fault is a random one")
            strike()
            done.join(300)
            process.kill()
            assert not done.is_alive(), f"{kind.__name__} hangs after {fault.__name__} of {server} at {moment:.2f} s"
        return f"{fault.__name__} of {server} at {moment:.2f} s"

    @contextmanager
    def power_cut(self, server: str) -> Iterator[Callable[[], None]]:
        """The power is back after a moment, or when the command has ended."""

        def strike() -> None:
            self.fleet.kill(server)
            if self.random.random() < 0.7:
                self.fleet.start(server)

        try:
            yield strike
        finally:
            self.fleet.start(server)

    @contextmanager
    def reboot(self, server: str) -> Iterator[Callable[[], None]]:
        yield lambda: self.fleet.reboot(server)

    @contextmanager
    def network_cut(self, server: str) -> Iterator[Callable[[], None]]:
        """For some seconds, or until the command has ended."""

        def strike() -> None:
            self.fleet.cut(server)
            if self.random.random() < 0.5:
                let_pass(self.random.uniform(1, 20), "a cut that both sides may survive")
                self.fleet.restore(server)

        try:
            yield strike
        finally:
            self.fleet.restore(server)

    @contextmanager
    def full_disk(self, server: str) -> Iterator[Callable[[], None]]:
        """The app's directory is on a small file system; it fills up at the moment of the fault."""
        script = f"""
mkdir -p {HOME} /root/small
mount -t tmpfs -o size=$(($(du -sb {HOME} | cut -f1) + {ROOM})),mode=0700 small /root/small
cp -a {HOME}/. /root/small/
mount --bind /root/small {HOME}
"""
        back = f"umount -l {HOME}; rm -f /root/small/fill; find {HOME} -mindepth 1 -delete; cp -a /root/small/. {HOME}/"
        empty = f"rmdir {HOME} 2>/dev/null; umount -l /root/small; rmdir /root/small"
        self.fleet.exec(server, "sh", "-ec", script)
        try:
            yield lambda: self.fleet.exec(server, "sh", "-c", FILL)
        finally:
            self.fleet.exec(server, "sh", "-c", f"{back}; {empty}")

    BREAKS = (power_cut, full_disk, reboot, network_cut)

    def converges(self, kind: Callable[[Sweep], None]) -> None:
        """One apply without a fault ends it: no change is left, no dyno is there twice, nothing is left behind."""
        if kind is Sweep.rollback:
            self.release()  # what was rolled back from is not applied again
        began = time.monotonic()
        # The side that was cut off may still hold the lock for as long as it takes to see that.
        self.app.dynoctl("apply", "--auto-approve", "--lock-timeout", "60")
        self.seconds = max(2.0, min(time.monotonic() - began, 30.0))
        assert "No changes. The servers match dyno.yaml." in self.app.dynoctl("plan", "--detailed-exitcode").stdout
        dynos, rows = self.app.manifest["dynos"], self.app.ps()
        wanted = [f"web.{number + 1}" for number in range(dynos["web"])] + ["tick.1"]
        wanted += [f"worker.{number + 1}" for number in range(dynos["worker"]["count"])]
        assert Counter(self._units()) == Counter(wanted) == Counter(rows.keys())
        for name, row in rows.items():
            assert row["state"] in (("up",) if name != "tick.1" else ("waiting", "running")), row
            assert not name.startswith("web.") or self.app.get(row) == f"probe {name}\n"
        router = self.fleet.address(self.app.manifest["router"]["servers"][0])
        assert "probe web." in eventually(lambda: get(router, PORT))
        for server in self.fleet.names:
            assert self.fleet.exec(server, "sh", "-c", LEFT).stdout == "", server

    def _units(self) -> list[str]:
        """Every dyno of the app that has a unit, as often as it has one."""
        found: list[str] = []
        for server in self.fleet.names:
            listing = "ls /etc/systemd/system | sed -nE 's/^dyno-sweep-([a-z]+)-([0-9]+)[.]service$/\\1.\\2/p'"
            found += self.fleet.exec(server, "sh", "-c", listing).stdout.split()
        return found


LEFT = f"""
ls -d {HOME}/pending {HOME}/undo /run/dynoctl-* /run/dynoctl/*.beat.* /run/systemd/system/*candidate* 2>/dev/null |
  grep -vx -e /run/dynoctl-router -e /run/dynoctl-builds.lock
[ ! -e /run/dynoctl/sweep.lock ] || flock -n /run/dynoctl/sweep.lock true || echo the lock is held
find /etc /var/lib/dynoctl /usr/local -name '*.new' -o -name '*dynoctl-new'
systemctl list-units --all --plain --no-legend --state=failed 'dyno*'
:
"""


BROKEN = (AssertionError, OSError, LookupError, ValueError, subprocess.TimeoutExpired, DynoctlError)
"""What a round that does not converge raises."""


@pytest.fixture
def app(tmp_path: Path, fleet: Any) -> Iterator[Project]:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    project = Project(tmp_path, fleet, "sweep", APPS / "probe", framework=framework)
    project.manifest["dynos"] = {"web": 2, "worker": {"count": 1, "command": "exec sleep infinity", "cpu": 0.1}}
    project.manifest["schedule"] = [{"name": "tick", "every": "1h", "command": "true"}]
    project.manifest["router"] = {"kind": "nginx", "servers": [fleet.names[0]], "listen": PORT, "timeout": 5}
    yield project
    for server in project.manifest["servers"]:
        server.pop("drain", None)
    project.destroy()


def test_interrupted_anywhere_one_apply_converges(app: Project, fleet: Any, soak: bool) -> None:
    """Short: 2 kills and a fault. With --soak: 100 and 40, and all that did not converge are told at the end."""
    before = {server: snapshot(fleet, server) for server in fleet.names}
    sweep = Sweep(app, fleet, SEED)
    app.apply()
    kinds = list(Sweep.KINDS if soak else Sweep.SHORT)
    breaks = [None] * (KILLS if soak else 2) + [
        Sweep.BREAKS[n % (4 if soak else 2)] for n in range(FAULTS if soak else 1)
    ]
    sweep.random.shuffle(kinds)
    sweep.random.shuffle(breaks)
    failed = []
    for number, broken in enumerate(breaks):
        kind = kinds[number % len(kinds)]
        what = f"round {number}, seed {SEED}: {kind.__name__}"
        began = time.monotonic()
        try:
            what += ", " + (sweep.kill(kind) if broken is None else sweep.fault(kind, broken))
            sweep.converges(kind)
            print(f"{what}: converged, {time.monotonic() - began:.0f} s", flush=True)
        except BROKEN as error:
            if not soak:
                raise AssertionError(f"{what}\n{error}") from None
            failed.append(f"{what}\n{error}")
            print(f"{failed[-1]}\nNOT CONVERGED", flush=True)
            eventually(lambda: app.dynoctl("destroy", "--auto-approve", code=None).returncode == 0, seconds=180)
            eventually(lambda: app.apply(code=None).returncode == 0)
    for server in app.manifest["servers"]:
        server.pop("drain", None)
    app.destroy()
    assert {server: snapshot(fleet, server) for server in fleet.names} == before
    assert not failed, f"{len(failed)} of {len(breaks)} did not converge:\n" + "\n\n".join(failed)
