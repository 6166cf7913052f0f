"""The step that installs packages, run with programs that behave as apt and dpkg do on servers in some trouble."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.model.provider import Scope
from infra.model.resource import Action, Change
from providers.package import Package, desired

INTERRUPTED = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem."
LOCKED = (
    "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (unattended-upgr)\n"
    "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?"
)

APT = """\
#!/bin/sh
env | grep -E '^(DEBIAN|DEBCONF|NEEDRESTART|APT_LIST)' | sort > "$HERE/environment"
printf '%s\\n' "$*" >> "$HERE/calls"
case " $* " in
  *' update '*) cat "$HERE/update"; exit 0;;
  *' -s '*) name=simulate;;
  *) name=install;;
esac
[ -e "$HERE/$name" ] || { [ $name = simulate ] || : > "$HERE/installed"; exit 0; }
cat "$HERE/$name"; exit 100
"""

DPKG = """\
#!/bin/sh
printf 'dpkg %s\\n' "$*" >> "$HERE/calls"
[ -e "$HERE/configure" ] || { rm -f "$HERE/simulate" "$HERE/install"; exit 0; }
cat "$HERE/configure"; exit 1
"""

QUERY = '#!/bin/sh\n[ -e "$HERE/installed" ] && echo "install ok installed"\n'


@pytest.fixture
def server(tmp_path: Path) -> Path:
    for name, text in {"apt-get": APT, "dpkg": DPKG, "dpkg-query": QUERY}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "update").write_text("Hit:1 http://deb.example bookworm InRelease\n")
    return tmp_path


def install(server: Path) -> subprocess.CompletedProcess[str]:
    scope = Scope("shop", "", packages=("ruby",))
    resource = desired("grid-1", "ruby")
    (command,) = Package().steps(scope, Change(resource, Action.CREATE, None, resource.attributes))
    environment = {"PATH": f"{server}:{os.environ['PATH']}", "HERE": str(server), "LC_ALL": "C"}
    return subprocess.run(command.argv, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_nothing_asks_and_nothing_restarts(server: Path) -> None:
    assert install(server).returncode == 0
    assert (server / "environment").read_text().splitlines() == [
        "APT_LISTCHANGES_FRONTEND=none",
        "DEBCONF_NONINTERACTIVE_SEEN=true",
        "DEBIAN_FRONTEND=noninteractive",
        "NEEDRESTART_MODE=l",
        "NEEDRESTART_SUSPEND=1",
    ]
    assert "DPkg::Lock::Timeout=240" in (server / "calls").read_text()


def test_the_holder_of_the_lock_is_named(server: Path) -> None:
    (server / "install").write_text(LOCKED + "\n")
    done = install(server)
    assert done.returncode == 1
    assert "It is held by process 4711 (unattended-upgr)" in done.stdout


def test_an_interrupted_dpkg_is_finished(server: Path) -> None:
    (server / "install").write_text(INTERRUPTED + "\n")
    assert install(server).returncode == 0
    assert "dpkg --configure -a" in (server / "calls").read_text()


def test_an_interrupted_dpkg_that_cannot_be_finished_is_said(server: Path) -> None:
    (server / "install").write_text(INTERRUPTED + "\n")
    (server / "configure").write_text("dpkg: error processing package nginx (--configure): exit status 1\n")
    done = install(server)
    assert done.returncode == 1
    assert "error processing package nginx" in done.stdout
    assert done.stdout.rstrip().endswith("on the server: dpkg --configure -a; apt-get -f install")


def test_a_proxy_that_is_down_is_said(server: Path) -> None:
    (server / "simulate").write_text("E: Unable to locate package ruby\n")
    (server / "update").write_text(
        "Err:1 http://deb.example bookworm InRelease\n"
        "  Could not connect to 10.0.0.9:3128 (10.0.0.9). - connect (113: No route to host)\n"
        "W: Failed to fetch http://deb.example/InRelease  Could not connect to 10.0.0.9:3128 (10.0.0.9).\n"
    )
    done = install(server)
    assert done.returncode == 1
    assert "Unable to locate package ruby" in done.stdout and "Could not connect to 10.0.0.9:3128" in done.stdout
