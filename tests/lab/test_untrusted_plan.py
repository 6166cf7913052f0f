"""A plan of a stranger's manifest on real servers: its login observes, and neither changes anything nor learns a secret."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import observer
from tests.lab.support import APPS, Project, changed

ON = "grid-1"
SECRET = "hunter2-of-production"
SHORT = "4711"
PROGRAM = observer.program("watched")
LOGIN = observer.LOGIN
MARK = "/run/sprung"


@pytest.fixture(scope="module")
def app(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """An app that runs on one server, applied as root, where a read-only login is installed."""
    directory = tmp_path_factory.mktemp("untrusted")
    made = Project(
        directory, fleet, "watched", APPS / "probe", framework={"name": "rack", "require": "./probe", "app": "Probe"}
    )
    made.manifest["servers"] = made.manifest["servers"][:1]
    made.manifest["dynos"] = {"web": 1}
    made.manifest["env"] = {
        "API_KEY": {"from_env": "WATCHED_KEY"},
        "PIN": {"from_env": "WATCHED_PIN"},
        "LOG_LEVEL": "info",
    }
    made.manifest["credentials"] = {"pin": {"from_env": "WATCHED_PIN"}}
    made.manifest["database"] = {"adapter": "postgresql", "url": {"from_env": "WATCHED_URL"}}
    made.environment |= {
        "WATCHED_KEY": SECRET,
        "WATCHED_PIN": SHORT,
        "WATCHED_URL": f"postgresql://shop:{SECRET}@10.0.0.9/shop",
    }
    checkout(made)
    made.apply()
    made.observer = observer.install(made, fleet, [ON], directory)  # type: ignore[attr-defined]
    yield made
    observer.remove("watched", fleet, [ON])
    made.destroy()


def checkout(made: Project) -> None:
    """A clone of one repository, as the manifest of another one is refused."""
    for argv in (("init", "-q"), ("remote", "add", "origin", "https://git.example.org/acme/watched.git")):
        subprocess.run(["git", "-C", made.directory, *argv], check=True)


@pytest.fixture
def stranger(app: Project, fleet: Any, tmp_path: Path) -> Project:
    """The same manifest in the hands of a stranger: without the secrets, with the read-only login."""
    made = Project(tmp_path, fleet, "watched", app.source)
    made.manifest = {**app.manifest, "app": {"name": "watched", "source": "app"}, "env": dict(app.manifest["env"])}
    checkout(made)
    made.environment = dict(app.observer)  # type: ignore[attr-defined]
    return made


def said(fleet: Any, *argv: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """A command as the login has it."""
    done: subprocess.CompletedProcess[str] = fleet.exec(
        ON, "runuser", "-u", LOGIN, "--", *argv, input=given, check=False
    )
    return done


def test_a_stranger_plans(app: Project, stranger: Project) -> None:
    app.settled()
    same = stranger.dynoctl("plan", "--untrusted").stdout
    assert "env_file" not in same and "API_KEY" not in same, "what was not read is taken for what is there"
    stranger.manifest["env"] |= {
        "LOG_LEVEL": "debug",
        "NEW_KEY": {"from_command": ["touch", str(stranger.directory / "ran")]},
    }
    stranger.manifest["dynos"] = {"web": 2}
    plan = stranger.dynoctl("plan", "--untrusted", "--detailed-exitcode", code=2).stdout
    assert '"debug"' in plan and "variables.NEW_KEY = (unresolved)" in plan and "web.2" in plan
    assert "API_KEY: " not in plan and SECRET not in plan
    assert not (stranger.directory / "ran").exists()
    for view in ("--markdown", "--json"):
        assert SECRET not in stranger.dynoctl("plan", "--untrusted", view).stdout
    app.settled()


def test_doctor_says_that_the_program_is_another_one(app: Project, fleet: Any) -> None:
    """As after an upgrade, or a change of the manifest that the program knows of."""
    assert f"ok       observer  {PROGRAM} is up to date" in app.dynoctl("doctor", code=None).stdout
    app.manifest["env"]["PLAIN"] = "more"
    assert f"warning  observer  {PROGRAM} is of another dynoctl" in app.dynoctl("doctor", code=None).stdout
    del app.manifest["env"]["PLAIN"]
    with changed(fleet, ON, f"cp -a {PROGRAM} /root/kept; echo : >> {PROGRAM}", f"mv /root/kept {PROGRAM}"):
        said = app.dynoctl("doctor", code=1).stdout
    assert f"failed   observer  no sudo rule has the digest of {PROGRAM}" in said


@pytest.mark.parametrize(
    "argv",
    [
        ("apply", "--auto-approve"),
        ("destroy", "--auto-approve"),
        ("restart",),
        ("rollback", "--auto-approve"),
        ("scale", "web=2", "--auto-approve"),
        ("run", "--", "true"),
        ("plan",),
        ("ps",),
        ("logs",),
        ("validate", "--online"),
    ],
    ids=" ".join,
)
def test_its_login_does_nothing_else(argv: tuple[str, ...], app: Project, stranger: Project) -> None:
    stranger.manifest.pop("ssh")
    stranger.environment |= app.environment
    done = stranger.dynoctl(*argv, code=None)
    assert done.returncode != 0 and "cannot become root" in done.stdout + done.stderr, done.stdout + done.stderr
    app.settled()


@pytest.mark.parametrize(
    "argv",
    [
        ("id",),
        ("sh", "-s"),
        ("sh", "-s", "--", ""),
        ("/bin/sh", PROGRAM),
        (PROGRAM, "x"),
        (PROGRAM, ""),
        ("-u", "dyno-watched-web-1", PROGRAM),
        ("-e", PROGRAM),
        ("-i",),
        ("-E", PROGRAM),
        ("BASH_ENV=/tmp/x", PROGRAM),
        ("PATH=/tmp", PROGRAM),
        ("cat", "/etc/dyno/watched/web.1.env"),
    ],
    ids=" ".join,
)
def test_sudo_refuses_everything_else(argv: tuple[str, ...], app: Project, fleet: Any) -> None:
    done = said(fleet, "sudo", "-n", *argv, given="id")
    assert done.returncode != 0 and "uid=" not in done.stdout and SECRET not in done.stdout


@pytest.mark.parametrize(
    "path", ["/etc/dyno/watched/web.1.env", "/var/lib/dynoctl/watched/salt", "/var/lib/dynoctl/watched", PROGRAM]
)
def test_it_neither_reads_secrets_nor_writes_the_program(path: str, app: Project, fleet: Any) -> None:
    assert said(fleet, "sh", "-c", f"echo >> {path}").returncode != 0
    assert said(fleet, "ls", path).returncode != 0 or path == PROGRAM


def test_a_changed_program_is_not_run(app: Project, fleet: Any) -> None:
    with changed(
        fleet, ON, f"cp -p {PROGRAM} /root/kept; echo 'touch {MARK}' >> {PROGRAM}", f"mv /root/kept {PROGRAM}"
    ):
        assert said(fleet, "sudo", "-n", PROGRAM).returncode != 0
    assert fleet.exec(ON, "test", "-e", MARK, check=False).returncode != 0
    assert said(fleet, "sudo", "-n", PROGRAM).returncode == 0


def test_its_output_holds_no_secret_and_no_salt(app: Project, fleet: Any) -> None:
    output = said(fleet, "sudo", "-n", PROGRAM).stdout
    salt = fleet.exec(ON, "cat", "/var/lib/dynoctl/watched/salt").stdout.strip()
    assert len(output) > 1000 and SECRET not in output and salt not in output
    assert '"salt": "-"' in output or '"salt"' not in output
    digests = set(re.findall(r"[0-9a-f]{64}", output))
    salts = {"", "-", "dynoctl-observe", *re.findall(r"^salt (\S+)$", output, re.MULTILINE)}
    guesses = [SHORT, SECRET, f'PIN="{SHORT}"', f'API_KEY="{SECRET}"', f"{SHORT}\n"]
    for known in salts:
        for guess in guesses:
            assert hashlib.sha256((known + guess).encode()).hexdigest() not in digests, "a guess can be checked"


@pytest.mark.parametrize(
    "value", ["$(touch /run/sprung)", "`touch /run/sprung`", "'; touch /run/sprung; '", "\n touch /run/sprung"]
)
def test_its_one_variable_is_data(value: str, app: Project, fleet: Any) -> None:
    done = said(fleet, "env", f"SSH_CONNECTION={value}", "ENV=/tmp/x", "LD_PRELOAD=/tmp/x", "sudo", "-n", PROGRAM)
    assert done.returncode == 0 and fleet.exec(ON, "test", "-e", MARK, check=False).returncode != 0


def test_a_stranger_names_no_file_outside(stranger: Project) -> None:
    outside = stranger.directory.parent / "outside-source"
    shutil.copytree(stranger.source, outside, dirs_exist_ok=True)
    stranger.manifest["app"]["source"] = str(outside)
    done = stranger.dynoctl("plan", "--untrusted", code=3)
    assert "app.source is outside of the repository" in done.stderr
    stranger.manifest["app"]["source"] = "app"
    refused = stranger.dynoctl("plan", "--untrusted", "--out", "plan.json", code=1).stderr
    assert "--untrusted cannot be combined with --out" in refused


@pytest.mark.parametrize("owner", ["dyno-watched-web-1", "root"])
def test_a_ruby_that_a_dyno_wrote_is_not_run(owner: str, app: Project, fleet: Any) -> None:
    """It would be root's program for the length of a plan."""
    place = "/opt/planted/bin"
    plant = f"mkdir -p {place}; printf '#!/bin/sh\\ntouch {MARK}\\necho ruby 3.3.0\\n' > {place}/ruby; chmod 755 {place}/ruby"
    plant += f"; chown {owner} {place}/ruby; {'chmod 777 ' + place if owner == 'root' else ':'}"
    app.manifest["ruby"] = {"path": f"{place}/ruby"}
    try:
        with changed(fleet, ON, plant, f"rm -rf /opt/planted {MARK}"):
            done = app.dynoctl("plan", code=1)
            assert f"grid-1: {place}/ruby is not run, as it can be changed by others" in done.stderr
            refused = app.dynoctl("validate", "--online", code=None)
            assert "can be changed by others" in refused.stdout + refused.stderr
            assert fleet.exec(ON, "test", "-e", MARK, check=False).returncode != 0
    finally:
        del app.manifest["ruby"]
