"""The launcher changes nothing of a process but its domain: arguments, variables, descriptors and the number stay."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infra.model import landlock
from infra.model.run_request import Base, RunRequest
from providers import ini, run
from providers.dyno_unit import BOUND, DynoUnit, launched, service

KNOWS = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getpid()]))"

CONNECT = """
import socket, sys
peer = socket.socket(socket.AF_UNIX)
try:
    peer.connect("\\0" + sys.argv[1])
except PermissionError:
    print("refused")
else:
    print("reached")
own = socket.socket(socket.AF_UNIX)
own.bind("\\0" + sys.argv[1] + "-own")
own.listen()
socket.socket(socket.AF_UNIX).connect("\\0" + sys.argv[1] + "-own")
"""


def start(*argv: str, **variables: str) -> subprocess.Popen[str]:
    words = landlock.inline((sys.executable, *argv))
    return subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_process_is_started_as_it_is(tmp_path: Path) -> None:
    """Also with a locale that is not installed, with variables that Perl or the C library would obey, and with one that
    looks as if the shell listed others."""
    (tmp_path / "Evil.pm").write_text("open(my $file, '>', $ENV{MARK}); 1;")
    variables = {
        "PATH": f"/usr/bin:.:{tmp_path}:/tmp",
        "LANG": "xx_XX.UTF-8",
        "ODD": "a\nb=c ü ' \"",
        "EMPTY": "",
        "PERL5LIB": str(tmp_path),
        "PERL5OPT": "-MEvil",
        "PERL_SIGNALS": "no such way",  # Perl would not start
        "PERL_HASH_SEED_DEBUG": "1",
        "PERL_UNICODE": "SDA",
        "LOCPATH": str(tmp_path),
        "GLIBC_TUNABLES": "glibc.malloc.check=3",
        "LISTED": "1'\nexport PERL5OPT='-MEvil'\nexport NEVER='1\nexport dynoctl_EMPTY='",
        "DYNOCTL_OWN": "1",
        "OWN": "2",
        "DYNOCTL_COMMAND": "3",
        "COMMAND": "4",  # a one-off dyno ran this in place of its command
        "_X": '`exit 3`$(exit 3)"\\',
        "MARK": str(tmp_path / "mark"),
        "BASH_ENV": str(tmp_path / "Evil.pm"),
        "ENV": str(tmp_path / "Evil.pm"),
    }
    words = ["a b", "", "$x", "'", "-e", "--", "A=b", "ü\n"]
    process = start("-c", KNOWS, *words, **variables)
    out, err = process.communicate(timeout=60)
    argv, environment, pid = json.loads(out)
    assert (argv, pid, err) == (words, process.pid, "")
    assert {name: environment.get(name) for name in variables} == variables
    assert environment.keys() - variables.keys() <= {"LC_CTYPE", "PWD", "SHLVL", "_", "OLDPWD"}
    assert not (tmp_path / "mark").exists()


def test_what_perl_gets_has_no_name_of_the_app(tmp_path: Path) -> None:
    """So no variable that Perl, or a library, obeys in some version gets there."""
    (tmp_path / "perl").write_text("#!/bin/sh\nexec env\n")
    (tmp_path / "perl").chmod(0o755)
    script = landlock.LAUNCHER.replace("/usr/bin/perl", f"{tmp_path}/perl")
    names = ("PATH", "LANG", "LC_ALL", "PERL_SIGNALS", "GCONV_PATH", "HOME", "x")
    done = subprocess.run(
        ("/bin/sh", "-c", script, "launch", "true"),
        env=dict.fromkeys(names, "/usr/bin"),
        capture_output=True,
        text=True,
    )
    seen = {line.partition("=")[0] for line in done.stdout.splitlines()} - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert seen >= {f"dynoctl_{name}" for name in names}, done.stderr
    assert all(name.startswith("dynoctl_") for name in seen)


@pytest.mark.parametrize(("program", "said", "status"), [("nothere", "No such file or directory", 127), ("/", "", 126)])
def test_a_program_that_cannot_be_started_is_named(program: str, said: str, status: int) -> None:
    done = subprocess.run(landlock.inline((program, "-x")), capture_output=True, text=True, check=False)
    assert done.returncode == status and done.stderr.startswith(f"dynoctl: cannot start {program}: {said}")


@pytest.mark.skipif(ctypes.CDLL(None).syscall(444, None, 0, 1) < 6, reason="the kernel keeps no abstract sockets apart")
@pytest.mark.skipif(not Path("/usr/bin/perl").exists(), reason="Perl is not installed")
def test_it_reaches_its_own_abstract_sockets_only() -> None:
    name = f"dynoctl-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        plain = subprocess.run([sys.executable, "-c", CONNECT, name], capture_output=True, text=True, check=True)
        launcher = ["setpriv", "--no-new-privs", *landlock.inline((sys.executable, "-c", CONNECT, name))]
        apart = subprocess.run(launcher, capture_output=True, text=True, check=False)
    assert (plain.stdout, apart.stdout, apart.stderr) == ("reached\n", "refused\n", "")


def test_a_one_off_dyno_is_launched_as_its_dyno_is() -> None:
    """Units of earlier versions have no launcher."""
    for files, first in (({"launcher": "a" * 64}, ["/bin/sh", BOUND["launcher"]]), ({}, [])):
        dyno = DynoUnit("shop", "worker.1", ("/bin/x",), {}, "a" * 64, 250, 1 << 29, files=files)
        assert list(launched(dyno, dyno.argv)) == [*first, "/bin/x"]
        checked = service(replace(dyno, health_command=("/bin/up",)))["Service.ExecStartPost"]
        assert checked.startswith(" ".join([*first, "/bin/sh -c "])) and checked.endswith(" health /bin/up")
        base = Base("worker.1", "a" * 64, True, {"unit": ini.render(service(dyno)), "systemd": "252"})
        words = list(run.Runs().argv("shop", base, RunRequest(("true",), "pipe")))
        command = words[words.index("--") + 1 :]
        assert command[: len(first) + 2] == [*first, "/bin/sh", "-c"]
