"""Parsing the output of a checkup, and rendering findings."""

from __future__ import annotations

import subprocess

import pytest

from infra.ops import server_checks
from infra.ops.doctor import Report
from infra.ops.finding import Finding
from infra.ops.server_checks import MIB, Checkup, Disk
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


def test_the_script_prints_what_is_parsed() -> None:
    text = subprocess.run(
        ["sh", "-s"],
        input=observation({"checkup": server_checks.fragment()}, "N"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = server_checks.parse(sections(text, "N")["checkup"][1])
    assert found.memory > 100 and {disk.path for disk in found.disks} <= {"/var/lib", "/srv", "/etc", "/run"}


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
