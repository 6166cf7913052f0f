"""The step that installs packages, run with programs that behave as apt and dpkg do on servers in some trouble."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from infra.manifest.model import Packages
from infra.model.formation import Formation
from infra.model.provider import Dyno, Scope
from infra.model.resource import Action, Change, Upload
from infra.model.stack import Slug
from infra.registry import Everything
from providers import package_upgrade
from providers.package import Package, desired
from tests.unit.test_formation import manifest
from tests.unit.test_release import STACK

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


SIMULATED = """\
NOTE: This is only a simulation!
Inst libruby3.1 [3.1.2-7] (3.1.2-7+deb12u1 Debian-Security:12/stable-security [amd64]) []
Inst ruby3.1 [3.1.2-7] (3.1.2-7+deb12u1 Debian-Security:12/stable-security [amd64])
Inst libssl3:amd64 [3.0.1-1] (3.0.2-1 Debian:12/stable [amd64])
Inst ruby-dev (1:3.1 Debian:12/stable [amd64])
Conf libruby3.1 (3.1.2-7+deb12u1 Debian-Security:12/stable-security [amd64])
Inst $(evil) [1] (2 x)
"""


def test_what_apt_would_upgrade_is_read_from_its_simulation() -> None:
    found = package_upgrade.upgrades("grid-1", SIMULATED)
    assert [(one.address, one.attributes["before"], one.attributes["after"]) for one in found] == [
        ("grid-1/package_upgrade.libruby3.1", "3.1.2-7", "3.1.2-7+deb12u1"),
        ("grid-1/package_upgrade.ruby3.1", "3.1.2-7", "3.1.2-7+deb12u1"),
        ("grid-1/package_upgrade.libssl3", "3.0.1-1", "3.0.2-1"),
    ]
    assert {one.attributes["together"] for one in found} == {("libruby3.1", "libssl3", "ruby3.1")}
    assert package_upgrade.upgrades("grid-1", "E: Unable to locate package ruby-dev\n") == []


def upgrade(server: Path) -> subprocess.CompletedProcess[str]:
    resource = package_upgrade.upgrades("grid-1", SIMULATED)[0]
    change = Change(resource, Action.CREATE, None, resource.attributes)
    (command,) = package_upgrade.PackageUpgrade().steps(Scope("shop", ""), change)
    environment = {"PATH": f"{server}:{os.environ['PATH']}", "HERE": str(server), "LC_ALL": "C"}
    return subprocess.run(command.argv, env=environment, capture_output=True, text=True, timeout=60, check=False)


UPGRADING = """\
#!/bin/sh
printf '%s\\n' "$*" >> "$HERE/calls"
case " $* " in *' -s '*) cat "$HERE/would";; *) cat "$HERE/next" > "$HERE/version";; esac
"""


@pytest.fixture
def outdated(server: Path) -> Path:
    """A server whose apt says what ``would`` has, and upgrades what ``version`` says."""
    (server / "dpkg-query").write_text('#!/bin/sh\ncat "$HERE/version"\n')
    (server / "dpkg").write_text('#!/bin/sh\n[ "$2" = "$4" ]\n')
    (server / "apt-get").write_text(UPGRADING)
    for name, text in {
        "version": "3.1.2-7",
        "next": "3.1.2-7+deb12u1",
        "would": SIMULATED.rpartition("Inst")[0],
    }.items():
        (server / name).write_text(text)
    return server


def test_what_the_plan_names_is_upgraded_once_and_nothing_else(outdated: Path) -> None:
    assert upgrade(outdated).returncode == 0
    asked, done = (outdated / "calls").read_text().splitlines()
    assert asked.endswith("-s install --only-upgrade libruby3.1 libssl3 ruby3.1")
    assert done.endswith("install --only-upgrade libruby3.1 libssl3 ruby3.1") and "--no-remove" in done
    assert upgrade(outdated).returncode == 0
    assert len((outdated / "calls").read_text().splitlines()) == 2, "it is upgraded already"


@pytest.mark.parametrize("line", ["Inst systemd [252] (253 x)", "Remv postgresql [15]"])
def test_an_upgrade_that_needs_more_than_the_plan_names_is_refused(outdated: Path, line: str) -> None:
    with (outdated / "would").open("a") as would:
        would.write(f"{line}\n")
    done = upgrade(outdated)
    assert done.returncode == 1
    assert done.stdout.rstrip().endswith(
        "so nothing was upgraded: " + ("systemd" if "systemd" in line else "-postgresql [15]")
    )
    assert len((outdated / "calls").read_text().splitlines()) == 1


def test_an_upgrade_that_is_not_there_any_more_is_said(outdated: Path) -> None:
    (outdated / "next").write_text("3.1.2-7")
    done = upgrade(outdated)
    assert (done.returncode, "plan again" in done.stdout) == (1, True)


def test_the_builder_alone_gets_its_packages() -> None:
    tools = ("build-essential", "libpq-dev")
    scope = Scope("shop", "", packages=("ruby",), builder="grid-2", build_packages=tools)

    def words(server: str, name: str) -> tuple[str, ...]:
        resource = desired(server, name)
        return Package().steps(scope, Change(resource, Action.CREATE, None, resource.attributes))[0].argv[4:]

    assert words("grid-2", "libpq-dev") == ("libpq-dev", *tools)
    assert words("grid-2", "ruby") == ("ruby", "ruby") and words("grid-1", "ruby") == ("ruby", "ruby")
    observed = Package().parse(scope, "libpq-dev install ok installed\nvim install ok installed\n")
    assert list(observed) == ["libpq-dev"]
    one = replace(manifest(2, 1), builder="s2", packages=Packages(names=("curl",), builder=tools))
    registry = Everything()
    formation = Formation((Dyno("web.1", "s1", "10.0.0.1", 5000),), {}, {})
    made = replace(scope, builder="s2", build_packages=registry.build_packages(one), environments={"web": {}})
    slug = Slug("cafe" * 16, lambda session, say, before: Upload("", "", "", 0))
    found = registry.desired(one, STACK, slug, formation, made, ["s1", "s2"])
    assert {one.address for one in found if one.server == "s2"} == {f"s2/package.{name}" for name in tools}
    assert not {one.name for one in found if one.server == "s1"} & set(tools)
    assert registry.build_packages(replace(one, packages=Packages(manual=True, builder=tools))) == ()


def test_an_upgrade_finishes_an_interrupted_dpkg_first(outdated: Path) -> None:
    """As a power cut leaves it."""
    broken = (
        'case " $* " in *" -s "*) ;; *) [ -e "$HERE/mended" ] || { echo "' + INTERRUPTED + '"; exit 100; };; esac\n'
    )
    (outdated / "apt-get").write_text(UPGRADING.replace("case", f"{broken}case", 1))
    (outdated / "dpkg").write_text('#!/bin/sh\n[ "$1" = --configure ] && : > "$HERE/mended" && exit\n[ "$2" = "$4" ]\n')
    done = upgrade(outdated)
    assert done.returncode == 0, done.stdout
