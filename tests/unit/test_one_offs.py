"""One-off dynos under way: how they are found on a server, and which removals of slices and records they stop."""

from __future__ import annotations

import base64
import os
import pty
import subprocess
from pathlib import Path

import pytest

from infra.model import one_offs
from infra.model.one_offs import OneOff
from providers import files, one_off
from providers import run as one_off_run

SLUG = "ab" * 32


def listing(*units: tuple[str, str]) -> str:
    """What a server prints for units and their states."""
    lines = []
    for name, state in units:
        lines += [
            f"Id={name}.service",
            f"ActiveState={state}",
            f"BindReadOnlyPaths=/srv/dyno/shop/{SLUG}:/app:rbind",
            "",
        ]
    return "\n".join(f"one-off {line}" for line in lines)


def test_one_off_dynos_of_the_app_are_found() -> None:
    output = listing(
        ("dynoctl-run-shop.123456", "active"),
        ("dynoctl-run-shop.123457", "inactive"),
        ("dynoctl-run-shop.123458", "deactivating"),
        ("dynoctl-run-my-shop.123459", "active"),
        ("dynoctl-release-shop.0a1b2c3d", "activating"),
        ("dynoctl-release-shop.0a1b2c3d.ended", "activating"),
        ("dynoctl-candidate-shop.0a1b2c3d", "active"),
    )
    assert one_offs.read(f"cores 4\n{output}\nother x", "shop") == (
        OneOff("run.123456", SLUG),
        OneOff("run.123458", SLUG),
        OneOff("release command", SLUG),
    )
    assert one_offs.read(output, "my-shop") == (OneOff("run.123459", SLUG),)
    assert one_offs.read("", "shop") == ()


SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> "$LOG"
[ "$1" != show ] || echo active
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in the place of /, with a systemctl that writes what it is asked to."""
    for name in ("bin", "run/systemd/transient", "run/systemd/system", "etc/systemd/system"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bin/systemctl").write_text(SYSTEMCTL)
    (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    (tmp_path / "log").touch()
    return tmp_path


def run(server: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    text = script.replace("/run/", f"{server}/run/").replace("/etc/", f"{server}/etc/")
    return subprocess.run(["sh", "-c", text, "x", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("present", "stopped"),
    [
        ("", ["dyno-shop.slice", "dyno.slice"]),
        ("run/systemd/transient/dynoctl-run-shop.123456.service", []),
        ("run/systemd/system/dynoctl-release-shop.0a1b.service", []),
        ("run/systemd/transient/dynoctl-run-blog.123456.service", ["dyno-shop.slice"]),
        ("etc/systemd/system/dyno-shop-web-1.service", []),
        ("etc/systemd/system/dyno-blog-web-1.service", ["dyno-shop.slice"]),
    ],
)
def test_a_slice_is_stopped_only_when_it_is_empty(server: Path, present: str, stopped: list[str]) -> None:
    if present:
        (server / present).touch()
    command = files.stop_slice("shop", "dyno-shop-web-2.service")
    assert run(server, command.argv[2], *command.argv[4:]).returncode == 0
    assert (server / "log").read_text().splitlines() == [f"stop {name}" for name in stopped]


def test_a_sweep_stops_a_slice_only_when_it_is_empty(server: Path) -> None:
    command = one_off.sweep("shop", stop=True)
    (server / "etc/systemd/system/dyno-shop-web-1.service").touch()
    run(server, command.argv[2], *command.argv[4:])
    assert "stop dyno-shop.slice" not in (server / "log").read_text()
    (server / "etc/systemd/system/dyno-shop-web-1.service").unlink()
    run(server, command.argv[2], *command.argv[4:])
    assert (server / "log").read_text().splitlines()[-2:] == ["stop dyno-shop.slice", "stop dyno.slice"]


def test_records_are_not_removed_while_a_one_off_dyno_runs(server: Path) -> None:
    command = one_off.idle("shop")
    assert run(server, command.argv[2], *command.argv[4:]).returncode == 0
    (server / "run/systemd/transient/dynoctl-run-blog.123456.service").touch()
    assert run(server, command.argv[2], *command.argv[4:]).returncode == 0
    (server / "run/systemd/transient/dynoctl-run-shop.123456.service").touch()
    done = run(server, command.argv[2], *command.argv[4:])
    assert (done.returncode, done.stdout) == (1, "dynoctl-run-shop.123456 is still running\n")


def test_a_sweep_keeps_the_unit_that_notes_the_end_of_a_release_command(server: Path) -> None:
    """It waits, inactive, for a command that runs on after its apply was killed; without it the command runs again."""
    (server / "bin/systemctl").write_text(
        "#!/bin/sh\n"
        "for last; do :; done\n"
        'case "$1 $last" in "show "*.ended.service) echo inactive;; "show "*) cat "${LOG%/*}/state";; esac\n'
    )
    command = one_off.sweep("shop")
    units = [server / f"run/systemd/system/dynoctl-release-shop.0a1b{end}.service" for end in ("", ".ended")]
    for unit in units:
        unit.touch()
    (server / "state").write_text("activating\n")
    assert "dynoctl-release-shop.0a1b still runs\n" in run(server, command.argv[2], *command.argv[4:]).stdout
    assert all(unit.exists() for unit in units)
    (server / "state").write_text("inactive\n")
    assert run(server, command.argv[2], *command.argv[4:]).stdout == ""
    assert not any(unit.exists() for unit in units)


def command_of(*words: str) -> dict[str, str]:
    return {one_off_run._COMMAND: " ".join(base64.b64encode(f"{word}x".encode()).decode() for word in words)}


def test_a_unit_in_a_terminal_outlives_its_output(tmp_path: Path) -> None:
    """systemd-run would lose what the terminal does not show yet. Nobody waits where there is no terminal."""
    log = tmp_path / "log"
    (tmp_path / "sleep").write_text(f'#!/bin/sh\necho "sleep $*" >> {log}\n')
    (tmp_path / "sleep").chmod(0o755)
    words = ("sh", "-c", f"echo ended >> {log}; exit 7")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **command_of(*words)}
    argv = ["/bin/sh", "-c", one_off_run._WAIT, "run"]
    assert subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=False).returncode == 7
    assert log.read_text() == "ended\n"
    ours, theirs = pty.openpty()
    try:
        assert subprocess.run(argv, env=environment, stdout=theirs, check=False).returncode == 7
    finally:
        os.close(ours)
        os.close(theirs)
    assert log.read_text() == f"ended\nended\nsleep {one_off_run._LINGER}\n"
