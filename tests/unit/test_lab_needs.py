"""The requirements of the lab: errors for a machine that lacks them, and the installation of packages."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError
from infra.lab import limits, needs, state


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A machine that meets all requirements. ``missing`` holds programs to hide, ``ran`` the commands that were run."""
    here: dict[str, Any] = {"missing": set(), "ran": [], "failing": [], "version": "mksquashfs version 4.5.1 (2022)"}

    def run(argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        here["ran"].append(argv)
        fails = bool(here["failing"]) and argv[:2] == ["apt-get", "install"] and here["failing"].pop(0)
        if argv[:2] == ["apt-get", "install"] and not fails:
            here["missing"] -= {name for name, package in needs.PROGRAMS.items() if package in argv}
        return subprocess.CompletedProcess(argv, 100 if fails else 0, here["version"], "")

    monkeypatch.setattr(needs, "run", run)
    monkeypatch.setattr(needs, "_kernel", lambda: iter(here.get("kernel", ())))
    monkeypatch.setattr(needs, "LISTS", tmp_path)
    monkeypatch.setattr(needs.os, "geteuid", lambda: here.get("uid", 0))
    monkeypatch.setattr(needs.programs, "find", lambda name: None if name in here["missing"] else f"/usr/bin/{name}")
    return here


def refused(*, install: bool = False) -> str:
    with pytest.raises(DynoctlError) as error:
        needs.check(install=install)
    return f"{error.value.summary}\n  {error.value.hint}"


def test_nothing_is_missing(machine: dict[str, Any]) -> None:
    needs.check(install=True)
    assert machine["ran"] == [["mksquashfs", "-version"]]


def test_all_problems_are_reported_at_once(machine: dict[str, Any]) -> None:
    machine.update(
        missing={"ip", "mmdebstrap", "ssh", "ssh-keygen"}, kernel=["The kernel does not support loop devices."]
    )
    assert refused() == (
        "the lab cannot run on this machine\n"
        "  Missing programs: mmdebstrap, ip, ssh, ssh-keygen. Run: apt-get install iproute2 mmdebstrap openssh-client"
        " (or: dynoctl lab up --install-packages)\n"
        "  The kernel does not support loop devices."
    )
    assert machine["ran"] == []


def test_not_root(machine: dict[str, Any]) -> None:
    machine["uid"] = 1000
    assert "sudo" in refused()


def test_an_old_mksquashfs(machine: dict[str, Any]) -> None:
    machine["version"] = "mksquashfs version 4.4 (2019/08/29)"
    assert "mksquashfs 4.4 is too old. Install version 4.5 or later" in refused()


def test_install_without_package_lists_updates_first(machine: dict[str, Any]) -> None:
    machine["missing"] = {"mmdebstrap"}
    needs.check(install=True)
    assert [argv[:2] for argv in machine["ran"]][:2] == [["apt-get", "update"], ["apt-get", "install"]]


def test_install_with_stale_lists_updates_and_retries(machine: dict[str, Any]) -> None:
    machine.update(missing={"mmdebstrap", "ip"}, failing=[True])
    (needs.LISTS / "mirror.example_debian_Packages.lz4").touch()
    needs.check(install=True)
    assert [argv[1] for argv in machine["ran"]][:3] == ["install", "update", "install"]
    assert machine["ran"][0][-2:] == ["iproute2", "mmdebstrap"]


def test_install_without_apt(machine: dict[str, Any]) -> None:
    machine["missing"] = {"apt-get", "ip"}
    assert "apt-get not found" in refused(install=True)


def test_the_limit_is_raised_once_and_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INOTIFY", tmp_path / "instances")
    monkeypatch.setattr(state, "STATE", tmp_path)
    limits.INOTIFY.write_text("128\n")
    said: list[str] = []
    limits.lift(said.append)
    limits.lift(said.append)
    assert limits.INOTIFY.read_text() == f"{limits.ENOUGH}\n"
    assert len(said) == 1
    limits.restore()
    limits.restore()
    assert limits.INOTIFY.read_text() == "128\n"


def test_a_limit_that_was_changed_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INOTIFY", tmp_path / "instances")
    monkeypatch.setattr(state, "STATE", tmp_path)
    limits.INOTIFY.write_text("128\n")
    limits.lift(lambda _: None)
    limits.INOTIFY.write_text("99999\n")
    limits.restore()
    assert limits.INOTIFY.read_text() == "99999\n"
