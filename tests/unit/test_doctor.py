"""Parsing the output of a checkup, and rendering findings."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from infra.manifest.backings import Service
from infra.model.dyno_status import REMOVED, Row, unknown
from infra.model.resource import Found
from infra.model.routing import Route
from infra.ops import connectivity, observer_program, server_checks, server_findings, system_findings
from infra.ops.doctor import Report
from infra.ops.finding import Finding
from infra.ops.server_checks import MIB, Checkup, Disk, Packages
from infra.remote.quote import observation, sections
from infra.views import doctor
from infra.views.style import Style

SAID = """\
clock 1795478400.250000000
system Debian GNU/Linux 12 (bookworm)
controllers cpuset cpu io memory
loop yes
log loaded
memory 2048000
disk /var/lib 1024000 5000 yes
disk /srv 512 - no
disk /etc - - yes
"""


def test_a_checkup_is_read() -> None:
    assert server_checks.parse(SAID) == Checkup(
        "Debian GNU/Linux 12 (bookworm)",
        1795478400.25,
        frozenset({"cpuset", "cpu", "io", "memory"}),
        loop=True,
        memory=2000,
        disks=(Disk("/var/lib", 1000 * MIB, 5000, writable=True), Disk("/srv", 512 * 1024, None, writable=False)),
    )
    for damaged in ("", SAID.replace("clock", "cl"), SAID.replace("2048000", "many")):
        with pytest.raises((KeyError, ValueError)):
            server_checks.parse(damaged)


SET_UP = (
    SAID
    + """\
link /srv /var/srv
link /tmp /sysroot/tmp
read-only /usr
read-only /
ntp no
sessions 1
startups 10:30:100
enforcing SELinux
dpkg interrupted
dpkg lock 4711 unattended-upgr
proxy http://10.0.0.9:3128
"""
)


def test_a_checkup_of_a_server_that_is_set_up_in_many_ways() -> None:
    found = server_checks.parse(SET_UP)
    assert found.links == {"/srv": "/var/srv", "/tmp": "/sysroot/tmp"}
    assert found.read_only == {"/usr", "/"} and found.enforcing == ("SELinux",)
    assert (found.synchronised, found.sessions, found.startups) == (False, 1, "10:30:100")
    assert found.packages == Packages("4711 unattended-upgr", interrupted=True, proxy="http://10.0.0.9:3128")
    assert server_checks.parse(SAID + "ntp yes\n").synchronised is True
    assert server_checks.parse(SAID).synchronised is None, "the clock of a container is the host's"


def test_each_set_up_is_said_with_what_to_do() -> None:
    def said(text: str, *, sudo: float | None = None, to_install: tuple[str, ...] = ()) -> dict[str, Finding]:
        checkup = server_checks.parse(SAID + text)
        return {one.check: one for one in system_findings.about("grid-1", checkup, sudo, to_install)}

    assert said("") == {}
    assert said("sessions 10\n")["sshd"].result == "ok"
    assert said("sessions 2\n")["sshd"].message == "MaxSessions 2: an apply opens 2 connections"
    assert said("sessions 0\n")["sshd"].result == "failed"
    slow = said("", sudo=20.4)["sudo"]
    assert "took 20.4 s" in slow.message and "/etc/hosts" in slow.hint
    assert said("link /srv /var/srv\n")["links"].message == "/srv -> /var/srv"
    assert said("read-only /\n")["directories"].result == "failed"
    assert said("read-only /usr\n")["packages"].result == "ok"
    refused = said("read-only /usr\n", to_install=("ruby", "thin"))["packages"]
    assert refused.result == "failed" and "cannot install ruby, thin" in refused.message
    assert said("dpkg interrupted\n")["packages"].result == "warning"
    assert said("dpkg interrupted\n", to_install=("ruby",))["packages"].hint == "on the server: dpkg --configure -a"
    assert "process 4711 (unattended-upgr)" in said("dpkg lock 4711 unattended-upgr\n")["packages"].message
    assert "proxy" not in str(said("proxy http://p:1\n")), "nothing is to be installed"
    assert said("proxy http://p:1\n", to_install=("ruby",))["packages"].message == "apt uses the proxy http://p:1"
    assert (
        said("enforcing SELinux\nenforcing AppArmor\n")["access"].hint
        == "if a dyno does not start: ausearch -m avc -ts recent"
    )
    assert said("enforcing AppArmor\n")["access"].result == "ok"


def test_ports_that_outgoing_connections_may_take() -> None:
    def said(text: str, *ports: int) -> list[Finding]:
        return list(system_findings.outgoing("grid-1", server_checks.parse(SAID + text), ports))

    assert said("", 5000) == said("outgoing 32768 60999\n", 5000, 5001) == []
    assert said("outgoing 1024 65535\nreserved 80,5000-5099\n", 5000, 5001) == []
    (found,) = said("outgoing 1024 65535\nreserved 80-80,7007\n", 5000, 5004)
    assert found.result == "warning"
    assert found.message == "outgoing connections use ports 1024 to 65535, also 5000, 5004"
    assert found.hint.endswith("net.ipv4.ip_local_reserved_ports = 80-80,7007-7007,5000-5004")
    assert said("outgoing 1024 x\nreserved \n", 5000) == []


def test_the_file_system_of_the_slugs_is_looked_at() -> None:
    base = SAID.replace("disk /srv 512 - no\n", "").replace(
        "disk /var/lib 1024000 5000", "disk /var/lib 9999999 999999"
    )
    text = base + "disk /var/lib/dynoctl 1024 999999 yes\n"
    found = {one.message for one in server_findings._disks("grid-1", server_checks.parse(text))}
    assert "/var/lib/dynoctl has 1 MiB and 999999 inodes free" in found


@pytest.mark.parametrize(
    ("disk", "message", "hint"),
    [
        (
            "0 5000 full",
            "cannot write to /srv: no space left on device: 0 B and 5000 inodes free",
            "free disk space: du",
        ),
        (
            "90000 0 full",
            "cannot write to /srv: no space left on device: 87.89 MiB and 0 inodes free",
            "free disk space: du",
        ),
        ("90000 5000 no", "cannot write to /srv", "check if it is mounted read-only: findmnt -T /srv"),
        ("0 0 no", "cannot write to /srv", "check if it is mounted read-only: findmnt -T /srv"),
    ],
    ids=["full", "without inodes", "read-only", "an image, which has nothing free"],
)
def test_a_full_disk_is_not_called_read_only(disk: str, message: str, hint: str) -> None:
    text = SAID.replace("disk /srv 512 - no", f"disk /srv {disk}").replace("disk /var/lib 1024000", "disk /x 9")
    (found,) = server_findings._disks("grid-1", server_checks.parse(text))
    assert (found.result, found.message) == ("failed", message) and found.hint.startswith(hint)


@pytest.mark.parametrize(
    ("error", "may"),
    [("No space left on device", "full"), ("Disk quota exceeded", "full"), ("Read-only file system", "no")],
)
def test_why_a_file_cannot_be_made_is_what_the_system_says(error: str, may: str, tmp_path: Path) -> None:
    """An image that is mounted has nothing free either."""
    script = server_checks.fragment("shop").script
    (line,) = (line for line in script.splitlines() if "said=" in line)
    create = '( : > "$new" )'
    assert create in line
    after = script.partition(f"{line}\n")[2].partition("printf 'disk")[0]
    shown = line.replace(create, f"( echo 'sh: cannot create x: {error}' >&2; false )")
    done = subprocess.run(
        ["sh", "-c", f'new={tmp_path}/new\n{shown}\n{after}\necho "$may"'], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (f"{may}\n", "")


def test_sizes_have_units_that_people_read() -> None:
    text = SAID.replace("disk /var/lib 1024000 5000", "disk /var/lib 80477184 999999").replace("disk /srv 512 -", "")
    (found,) = server_findings._disks("grid-1", server_checks.parse(text.replace("2048000", "24683520")))
    assert found.message == "/var/lib 76.75 GiB free"
    homes = SimpleNamespace(homes={"web.1": "grid-1", "web.2": "grid-1", "web.3": "grid-2"})
    manifest = SimpleNamespace(types={"web": SimpleNamespace(memory=512 * MIB)})
    for memory, result, says in ((24105, "ok", "1 GiB of 23.54 GiB"), (900, "warning", "1 GiB of 900 MiB")):
        health = SimpleNamespace(memory=memory)
        (found,) = server_findings._memory("grid-1", cast(Any, manifest), cast(Any, health), cast(Any, homes))
        assert (found.result, found.message) == (result, f"2 dynos may use {says}")


def test_the_script_prints_what_is_parsed() -> None:
    text = subprocess.run(
        ["sh", "-s"],
        input=observation({"checkup": server_checks.fragment("shop")}, "N"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = server_checks.parse(sections(text, "N")["checkup"][1])
    assert found.outgoing is not None and found.outgoing[0] < found.outgoing[1]
    assert found.memory > 100 and {disk.path for disk in found.disks} <= {
        "/var/lib",
        "/var/lib/dynoctl",
        "/srv",
        "/etc",
        "/run",
    }


@pytest.mark.parametrize(("mode", "said"), [("enforce", "enforcing AppArmor\n"), ("complain", "")])
def test_apparmor_is_seen_in_files_that_have_no_size(mode: str, said: str, tmp_path: Path) -> None:
    """The kernel's files say size 0, as those of /proc, which stand for them here."""
    (tmp_path / "enabled").write_text("Y\n")
    script = server_checks.fragment("shop").script
    script = script[script.index("[ -r /sys/module/apparmor") :].partition("\n[ -x /usr/bin/dpkg ]")[0]
    with subprocess.Popen(
        ["cat", "-", f"/profile ({mode})"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as holder:
        script = script.replace("/sys/module/apparmor/parameters/enabled", str(tmp_path / "enabled"))
        script = script.replace("/sys/kernel/security/apparmor/profiles", f"/proc/{holder.pid}/cmdline")
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (said, "")


@pytest.mark.parametrize("login", ["", "user:secret@", "user:s@cret@", "user:s/cret@", "user:s//cret@", "secret@"])
def test_the_password_of_a_proxy_is_not_shown(tmp_path: Path, login: str) -> None:
    (tmp_path / "apt-config").write_text(f"#!/bin/sh\necho 'http://{login}proxy.test:3128/'\n")
    (tmp_path / "apt-config").chmod(0o755)
    script = "apt-config " + server_checks.fragment("shop").script.partition("\napt-config ")[2]
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(["sh", "-c", script], env={"PATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout == "proxy http://proxy.test:3128/\n"


OURS, OTHER = (hashlib.sha256(text).digest() for text in (b"program", b"other"))


@pytest.mark.parametrize(
    ("installed", "rules", "result"),
    [
        (None, (), None),
        (OURS, (base64.b64encode(OURS).decode(),), "ok"),
        (OURS, (base64.b64encode(OTHER).decode(), OURS.hex()), "ok"),
        (OURS, (), "failed"),
        (OURS, (base64.b64encode(OTHER).decode(), "no digest"), "failed"),
        (OTHER, (base64.b64encode(OURS).decode(),), "failed"),
        (OTHER, (base64.b64encode(OTHER).decode(),), "warning"),
    ],
)
def test_the_program_of_read_only_logins(installed: bytes | None, rules: tuple[str, ...], result: str | None) -> None:
    """After an upgrade it is that of the version before, and the plan of a pull request is made with it."""
    said = "" if installed is None else f"observer {installed.hex()}\n" + "".join(f"rule {rule}\n" for rule in rules)
    found = observer_program.examine("shop", server_checks.parse(SAID + said), lambda: "program")
    assert (None if found is None else found[0]) == result


@pytest.mark.parametrize(
    ("rule", "digests"),
    [
        ('sha256:one= OBSERVER ""\n', ("one=",)),
        ("sha256:one=\tOBSERVER", ("one=",)),
        ('sha256:one=, sha256:two= OBSERVER ""\n', ("one=", "two=")),
        ("sha256:one= OBSERVER, sha256:two= /bin/other\n", ("one=",)),
        ("sha256:one= OBSERVER-admin\n", ()),
        ("/bin/*, /etc/* OBSERVER\n", ()),
        ("sha256:two= /bin/other, sha256:one= OBSERVER\n", ("one=",)),
        ("/bin/other, \\\n    sha256:one= \\\n  OBSERVER\n", ("one=",)),
        ("PLAN\nCmnd_Alias PLAN = sha256:one=, \\\n sha512:no= OBSERVER\n", ("one=",)),
        ("/bin/x, B\nCmnd_Alias A=sha256:one= OBSERVER:B=A, sha256:no= /bin/y:C=sha256:no= OBSERVER\n", ("one=",)),
        ("NOPASSWD: A\nCmnd_Alias A = A, !OBSERVER\n", ()),
        ("/bin/x # sha256:no= OBSERVER\n", ()),
        ("/bin/x\nCmnd_Alias UNUSED = sha256:no= OBSERVER\n", ()),
    ],
)
def test_the_digests_of_a_sudo_rule_are_found(tmp_path: Path, rule: str, digests: tuple[str, ...]) -> None:
    observer = tmp_path / "observe"
    observer.touch()
    (tmp_path / "sudoers").write_text("# sha256:no= OBSERVER\n")
    (tmp_path / "sudoers.d").mkdir()
    (tmp_path / "sudoers.d/dynoctl").write_text(
        f"deploy ALL=(root) NOPASSWD: {rule}".replace("OBSERVER", str(observer))
    )
    fragment = server_checks.fragment("shop")
    script = fragment.script.replace("/etc/sudoers", f"{tmp_path}/sudoers")
    variables = {**fragment.variables, "observer": str(observer), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    said = subprocess.run(["sh", "-c", script], env=variables, capture_output=True, text=True, check=True).stdout
    assert [line.removeprefix("rule ") for line in said.splitlines() if line.startswith("rule ")] == list(digests)


def test_findings_are_shown_with_their_hints_and_no_escapes() -> None:
    findings = (
        Finding("grid-1", "ssh", "ok", "root@10.0.0.1", "never shown"),
        Finding("grid-1", "disk", "warning", "little\x1b[2J", "make room"),
        Finding("fleet", "dynos", "failed", "no place", "add a server"),
    )
    text = doctor.render(Report(findings, ()), Style(color=False))
    assert text.splitlines() == [
        "grid-1",
        "  ok       ssh    root@10.0.0.1",
        "  warning  disk   little\\x1b[2J",
        "                  hint: make room",
        "",
        "fleet",
        "  failed   dynos  no place",
        "                  hint: add a server",
        "",
        "3 checks: 1 failed, 1 warning.",
    ]
    assert doctor.document(Report(findings[:2], ("grid-2",)))["ok"] is True


def test_a_service_that_nobody_could_ask_yet_is_no_failure() -> None:
    """Ruby asks it, which the first apply installs."""
    service = Service("postgresql", "postgresql://db/shop", "db", 5432)
    (bare,) = connectivity._answers("grid-1", {"database": service}, 127, "")
    (wrong,) = connectivity._answers("grid-1", {"database": service}, 1, "no such file")
    assert (bare.ok, bare.checked, bare.message) == (
        False,
        False,
        "not checked: Ruby is not installed yet; apply installs it",
    )
    assert (wrong.ok, wrong.checked) == (False, True)
    manifest = cast(Any, SimpleNamespace(file=Path("dyno.yaml")))
    results = [finding.result for finding in server_findings.services("grid-1", manifest, [bare, wrong])]
    hints = [finding.hint for finding in server_findings.services("grid-1", manifest, [bare, wrong])]
    assert results == ["warning", "failed"] and not hints[0] and "check database in dyno.yaml" in hints[1]


OWN, LOCAL, ALL = "0B00000A", "0100007F", "0" * 8
MAPPED, LOCAL6, ALL6 = f"0000000000000000FFFF0000{OWN}", f"{'0' * 24}01000000", "0" * 32
"""Addresses as /proc/net has them."""


@pytest.mark.parametrize(
    ("listening", "socket", "router", "says"),
    [
        ([], "stopped", "starting", ["starting", "down"]),
        ([ALL], "stopped", "starting", ["on 0.0.0.0:8080", "on 0.0.0.0:5000"]),
        ([ALL6], "stopped", "starting", ["on [::]:8080", "on [::]:5000"]),
        ([OWN], "stopped", "starting", ["on 10.0.0.11:8080", "on 10.0.0.11:5000"]),
        ([MAPPED], "stopped", "starting", ["on 10.0.0.11:8080", "on 10.0.0.11:5000"]),
        ([LOCAL], "stopped", "starting", ["on 127.0.0.1:8080", "down"]),
        ([LOCAL6], "stopped", "starting", ["on [::1]:8080", "down"]),
        ([LOCAL, ALL], "stopped", "starting", ["on 127.0.0.1:8080", "on 0.0.0.0:5000"]),
        ([OWN], "listening", "not listening", ["not listening", "down"]),
    ],
    ids=["free", "all", "all of IPv6", "its own", "mapped", "another", "another of IPv6", "two", "their own sockets"],
)
def test_whose_port_another_program_has_is_told(
    listening: list[str], socket: str, router: str, says: list[str]
) -> None:
    """The hint was an apply, which fails as long as the other program has the port. A router listens on all addresses,
    a dyno on its own: a program on 127.0.0.1 has no port of the dyno."""
    lines = [
        f"   0: {address}:{port:04X} 00000000:0000 0A 00000000:00000000"
        for address in listening
        for port in (5000, 8080)
    ]
    checkup = server_checks.parse("\n".join([SAID, *lines]))
    facts = SimpleNamespace(
        routes=(Route("shop", "nginx", (), {8080: "plain"}, {}, False, router),),
        record={"router.shop": {}},
    )
    observed = SimpleNamespace(facts=facts, resources={"socket.shop-web.2": Found({"state": socket})})
    row = Row("web.2", "grid-1", "10.0.0.11", 5000, "down", "", pid=None, uptime=None, memory=None, restarts=0)
    results = cast(Any, SimpleNamespace(observed=observed, rows=[row], checkup=checkup))
    app, routed = SimpleNamespace(name="shop"), SimpleNamespace(servers=("grid-1",))
    manifest = cast(Any, SimpleNamespace(app=app, router=routed))
    found = list(server_findings._serving("grid-1", manifest, results, {}))
    assert [finding.result for finding in found] == ["failed", "failed"]
    for finding, words in zip(found, says, strict=True):
        assert finding.message.endswith(words)
        taken = words.startswith("on ")
        assert ("its port is taken: another program listens " in finding.message) == taken
        assert (f"ss -ltnp sport = :{words.rpartition(':')[2]}; stop it" in finding.hint) == taken
        assert "dynoctl apply" in finding.hint


def test_a_record_without_a_unit_is_a_finding_only_where_the_dyno_is_to_be() -> None:
    """An interrupted removal leaves the record of a dyno that is elsewhere, or no longer wanted."""
    facts = SimpleNamespace(routes=(), record={})
    rows = [unknown(dyno, "grid-1", REMOVED) for dyno in ("web.1", "web.2", "web.9")]
    checkup = SimpleNamespace(listeners=())
    results = cast(
        Any, SimpleNamespace(observed=SimpleNamespace(facts=facts, resources={}), rows=rows, checkup=checkup)
    )
    manifest = cast(Any, SimpleNamespace(app=SimpleNamespace(name="shop"), router=None))
    found = list(server_findings._serving("grid-1", manifest, results, {"web.1": "grid-1", "web.2": "grid-2"}))
    assert [(finding.check, finding.message) for finding in found] == [("web.1", "removed")]
