"""Servers as they are: what keeps an app from running is named by plan and by doctor, and what passes is waited for."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from infra.model.shell import StepFailed
from infra.model.target import Target
from infra.remote.session import Session
from providers import files
from tests.lab.setups import SERVER, findings, project, sshd
from tests.lab.support import WAIT, Project, changed, eventually, get, let_pass


@pytest.fixture
def app(tmp_path: Path, fleet: Any) -> Project:
    one = project(tmp_path, fleet, "plain-app")
    one.manifest["ssh"]["connect_timeout"] = 10
    return one


def shell(program: str) -> tuple[str, str]:
    return f"usermod -s {program} deploy", "usermod -s /bin/bash deploy"


def start_file(text: str) -> tuple[str, str]:
    return (
        f"cp /home/deploy/.bashrc /root/start; echo '{text}' > /home/deploy/.bashrc",
        "cp /root/start /home/deploy/.bashrc",
    )


FORCED = "cp /home/deploy/.ssh/authorized_keys /root/keys; sed -i 's|^|command=\"echo only backups\" |' "

REFUSED: dict[str, tuple[tuple[str, str], str, str]] = {
    "no sessions": (sshd("MaxSessions 0"), "opens no session for user deploy", "MaxSessions"),
    "ForceCommand": (sshd("ForceCommand cat"), "as with a forced command", "ForceCommand in sshd_config"),
    "sftp only": (sshd("ForceCommand internal-sftp"), "runs no commands", "ForceCommand"),
    "command= of a key": (
        (f"{FORCED} /home/deploy/.ssh/authorized_keys", "cp /root/keys /home/deploy/.ssh/authorized_keys"),
        "it printed: only backups",
        "command=",
    ),
    "nologin": (shell("/usr/sbin/nologin"), "runs no commands: This account is currently not", "usermod -s /bin/sh"),
    "false": (shell("/bin/false"), "login shell of user deploy failed with status 1", "getent passwd deploy"),
    "a start file that eats the script": (start_file("cat > /dev/null"), "does not run the script", "read input"),
    "a start file that exits": (start_file("exit 4"), "login shell of user deploy failed with status 4", "getent"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_login_that_runs_nothing_is_named(app: Project, fleet: Any, case: str) -> None:
    (do, undo), says, hint = REFUSED[case]
    app.manifest["ssh"]["user"] = "deploy"
    with changed(fleet, SERVER, do, undo):
        if case == "ForceCommand":
            assert says in app.dynoctl("plan", code=4).stdout
        found = findings(app, 4)["root"]
        assert says in found["says"] and hint in found["cure"]


def test_dropped_logins_are_tried_again(app: Project, fleet: Any) -> None:
    with changed(fleet, SERVER, *sshd("MaxStartups 1:100:1")), ExitStack() as stack:
        address = (fleet.address(SERVER), 22)
        waiting = stack.enter_context(socket.create_connection(address, WAIT))
        assert waiting.recv(4) == b"SSH-"
        done = app.dynoctl("plan", code=4)
        assert "Exceeded MaxStartups" in done.stderr + done.stdout
        assert "too many logins at once" in done.stderr + done.stdout
        app.manifest["ssh"]["connect_timeout"] = WAIT
        process = app.start("plan")
        let_pass(2, "the moment at which a login becomes possible")
        waiting.close()
        out, err = process.communicate(timeout=2 * WAIT)
        assert process.returncode == 0, out + err


def test_a_sudo_that_cannot_resolve_the_server(app: Project, fleet: Any) -> None:
    """It takes 20 seconds for each login, and only for each login."""
    program = (
        "#!/bin/sh\\necho x >> /run/sudos\\nsleep 1\\n"
        'echo sudo: unable to resolve host grid-1: Name or service not known >&2\\nexec /usr/bin/sudo "$@"\\n'
    )
    do = f"printf '{program}' > /usr/local/bin/sudo; chmod 755 /usr/local/bin/sudo; install -m 666 /dev/null /run/sudos"
    app.manifest["ssh"]["user"] = "deploy"
    with changed(fleet, SERVER, do, "rm /usr/local/bin/sudo /run/sudos"):
        found = findings(app, 0)["sudo"]
        assert found["result"] == "warning" and "/etc/hosts" in found["cure"]
        assert float(found["says"].partition("took ")[2].partition(" s")[0]) >= 1
        assert fleet.exec(SERVER, "wc", "-l", "/run/sudos").stdout.split()[0] == "1", "doctor logs in as root once"
        app.apply()
        app.destroy()
        # Observation, heartbeat, shell and upload; then observation, heartbeat and shell: not one for each step.
        assert int(fleet.exec(SERVER, "wc", "-l", "/run/sudos").stdout.split()[0]) <= 9


JOBS: dict[str, tuple[str, str, str]] = {
    "a link": ("srv\\x2dlink-a.mount", "[Mount]\nWhat=/dev/null\nWhere=/srv-link/a\n", "not canonical"),
    "not a file system": (
        "srv-novalid.mount",
        "[Mount]\nWhat=/etc/passwd\nWhere=/srv/novalid\nType=squashfs\nOptions=loop,ro\n",
        "mount: /srv/novalid: wrong fs type",
    ),
    "what a service needs": (
        "dyno-jobs-1.service",
        "[Unit]\nRequires=srv-novalid.mount\nAfter=srv-novalid.mount\n[Service]\nExecStart=/bin/true\n",
        "mount: /srv/novalid: wrong fs type",
    ),
    "no program": ("dyno-jobs-2.service", "[Service]\nType=exec\nExecStart=/nowhere/ruby\n", "status=203/EXEC"),
    "too long": (
        "dyno-jobs-3.service",
        f"[Service]\nType=exec\nExecStart=/bin/true {'x' * 140_000}\n",
        "Argument list too long",
    ),
    "killed": (
        "dyno-jobs-4.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'kill -9 $$$$'\n",
        "status=9/KILL",
    ),
    "too slow": (
        "dyno-jobs-5.service",
        "[Service]\nType=oneshot\nTimeoutStartSec=1\nExecStart=/bin/sleep 60\n",
        "start operation timed out",
    ),
    "no user": (
        "dyno-jobs-6.service",
        "[Service]\nType=exec\nUser=nobody-here\nExecStart=/bin/true\n",
        "status=217/USER",
    ),
}


def test_what_systemd_says_about_a_job_is_shown(fleet: Any) -> None:
    units = {unit: text for unit, text, _ in JOBS.values()}
    for unit, text in units.items():
        fleet.exec(SERVER, "tee", f"/etc/systemd/system/{unit}", input=text)
    fleet.exec(SERVER, "sh", "-c", "mkdir -p /var/link; ln -sfn /var/link /srv-link; systemctl daemon-reload")
    session = Session(Target(SERVER, fleet.address(SERVER), "root", None, fleet.key, fleet.known_hosts))
    try:
        held = session.shell("jobs", "a test").take()
        for case, (unit, _, says) in JOBS.items():
            with pytest.raises(StepFailed) as caught:
                held.run([files.systemctl("start", unit)])
            assert says in caught.value.output, (case, caught.value.output)
            assert "journalctl" not in caught.value.output and "systemctl status" not in caught.value.output
        held.close()
    finally:
        session.close()
        for unit in units:
            fleet.exec(SERVER, "rm", "-f", f"/etc/systemd/system/{unit}")
            fleet.exec(SERVER, "systemctl", "reset-failed", unit, check=False)
        fleet.exec(
            SERVER, "sh", "-c", "rm /srv-link; rmdir /var/link /srv/novalid; systemctl daemon-reload", check=False
        )


def test_doctor_finds_what_apt_and_the_clock_need(app: Project, fleet: Any) -> None:
    program = "printf '#!/bin/sh\\n%s\\n' '{}' > /usr/local/sbin/{}; chmod 755 /usr/local/sbin/{}"
    stubs = {"systemd-detect-virt": "echo none", "timedatectl": "echo no"}
    with ExitStack() as stack:
        for name, text in stubs.items():
            do = program.format(text, name, name)
            stack.enter_context(changed(fleet, SERVER, do, f"rm /usr/local/sbin/{name}"))
        stack.enter_context(changed(fleet, SERVER, ": > /var/lib/dpkg/updates/0001", "rm /var/lib/dpkg/updates/0001"))
        found = findings(app, 0)
        assert found["clock"]["result"] == "warning" and "not synchronised" in found["clock"]["says"]
        assert found["packages"]["says"] == "dpkg was interrupted" and "--configure -a" in found["packages"]["cure"]
        hold = (
            'file = File.open("/var/lib/dpkg/lock-frontend", "w"); '
            'file.fcntl(Fcntl::F_SETLK, [Fcntl::F_WRLCK, 0, 0, 0, 0].pack("ssqqi")); File.write("/run/held", ""); sleep'
        )
        start = f"systemd-run -q --unit=case-lock ruby -rfcntl -e '{hold}'"
        stack.enter_context(changed(fleet, SERVER, start, "systemctl stop case-lock; rm -f /run/held"))
        eventually(lambda: fleet.exec(SERVER, "test", "-e", "/run/held", check=False).returncode == 0)
        assert "dpkg is locked by process" in findings(app, 0)["packages"]["says"]


@contextlib.contextmanager
def ipv6(fleet: Any) -> Iterator[str]:
    """The server has only an IPv6 address."""
    lab = fleet._lab
    here, there, old = f"fd77:{lab.subnet:x}::1", f"fd77:{lab.subnet:x}::11", fleet.address(SERVER)
    fleet_ip = ["ip", "-6", "address"]
    subprocess.run([*fleet_ip, "replace", f"{here}/64", "dev", lab.bridge, "nodad"], check=True)
    do = f"ip -6 address add {there}/64 dev host0 nodad; ip address del {old}/24 dev host0"
    undo = f"ip address add {old}/24 dev host0; ip -6 address del {there}/64 dev host0"
    try:
        with changed(fleet, SERVER, do, undo):
            yield there
    finally:
        subprocess.run([*fleet_ip, "del", f"{here}/64", "dev", lab.bridge], check=True)


def test_a_server_with_nothing_but_ipv6(app: Project, fleet: Any, tmp_path: Path, soak: bool) -> None:
    with ipv6(fleet) as address:
        keys = Path(fleet.known_hosts).read_text().replace(fleet.address(SERVER), address)
        (tmp_path / "known").write_text(keys)
        app.manifest["servers"] = [{"name": SERVER, "host": address}]
        app.manifest["ssh"]["known_hosts"] = str(tmp_path / "known")
        app.manifest["rollout"] = {"health": {"path": "/"}}
        app.manifest["router"] = {"kind": "nginx", "servers": [SERVER], "listen": 8089}
        try:
            for kind in ("nginx", "haproxy", "caddy") if soak else ("nginx",):
                app.manifest["router"]["kind"] = kind
                app.apply()
                assert get(f"[{address}]", 8089), kind
            row = app.ps()["web.1"]
            assert row["listen"] == address and row["state"] == "up"
            app.settled()
            findings(app, 0)
        finally:
            app.destroy()
