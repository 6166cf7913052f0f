"""A server with nothing but sshd and systemd becomes a running one, from packages, and nobody's packages change."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.lab import fleet as labs
from infra.lab import processes
from tests.lab.support import DYNOCTL, STARTERS, Project, eventually

LIST = "dpkg-query -W -f '${Package} ${Version}\\n'"


REPOSITORY = r"""
set -e
cd /tmp && rm -rf made /srv/repo && mkdir -p /srv/repo
deb() {  # name, version, more fields, file
  rm -rf made && mkdir -p made/DEBIAN
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n' "$1" "$2" > made/DEBIAN/control
  [ -z "$3" ] || echo "$3" >> made/DEBIAN/control
  dpkg-deb -b made "$4" >/dev/null
}
offer() {
  { dpkg-deb -f "$1"; printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "${1##*/}" "$(stat -c %s "$1")" \
    "$(sha256sum < "$1" | cut -d' ' -f1)"; } >> /srv/repo/Packages
}
deb keepsake 1 '' /tmp/keepsake.deb && dpkg -i /tmp/keepsake.deb >/dev/null
"""
"""A server has the package keepsake; what is offered comes afterwards."""

OFFERED = """
mkdir -p /etc/apt/sources.list.d
echo 'deb [trusted=yes] file:/srv/repo ./' > /etc/apt/sources.list.d/offered.list
apt-get update -q
"""

CLEAN = "rm -rf /srv/repo /etc/apt/sources.list.d/offered.list /tmp/made /tmp/*.deb; apt-get update -q; dpkg -P eager keepsake"


@pytest.fixture
def shop(fleet: Any, tmp_path: Path) -> Any:
    (name,) = fleet.need_bare(1)
    project = Project(
        tmp_path,
        fleet,
        "bare",
        STARTERS / "sinatra",
        framework={"name": "sinatra", "require": "./app", "app": "Shop"},
        database={"adapter": "postgresql", "url": {"from_file": str(fleet.path / "database_url")}},
        cache={"adapter": "redis", "url": {"from_file": str(fleet.path / "cache_url")}},
    )
    project.manifest |= {"servers": [{"name": name, "host": fleet.address(name)}], "dynos": {"web": 1}}
    yield project
    project.destroy()


def installed(fleet: Any) -> set[str]:
    return set(fleet.exec("bare-1", "sh", "-c", LIST).stdout.splitlines())


def test_a_bare_server_becomes_a_running_one(shop: Project, fleet: Any) -> None:
    before = installed(fleet)
    assert fleet.exec("bare-1", "sh", "-c", "command -v ruby", check=False).stdout == ""

    # What only checks says what is missing, and does nothing.
    shop.manifest["packages"] = "manual"
    done = shop.dynoctl("plan", code=1)
    assert "bare-1: no MRI Ruby found at /usr/bin/ruby" in done.stderr
    assert "bare-1: /usr/bin/thin not found" in done.stderr
    del shop.manifest["packages"]

    done = shop.dynoctl("validate", "--online", code=1)
    assert "Ruby is not installed yet" in done.stdout

    # The lists are empty yet, so nobody knows which Ruby would come: it is found out before any dyno moves.
    shop.manifest["ruby"] = {"version": ">= 3.3"}
    done = shop.apply(code=1)
    assert re.search(r"bare-1: ruby 3\.1\.\d does not satisfy ruby.version", done.stdout)
    assert shop.ps() == {}
    fleet.exec(
        "bare-1",
        "sh",
        "-c",
        "apt-get purge -y -q ruby thin openssl ca-certificates && apt-get autoremove -y -q --purge",
    )
    assert installed(fleet) == before
    done = shop.dynoctl("plan", code=1)
    assert "bare-1: apt would install ruby 3.1, which does not satisfy ruby.version" in done.stderr
    del shop.manifest["ruby"]

    # A package that cannot be installed without an upgrade of another one: refused by name, then a part of the plan.
    newer = "deb keepsake 2 '' /srv/repo/keepsake.deb; offer /srv/repo/keepsake.deb\n"
    eager = "deb eager 1 'Depends: keepsake (>= 2)' /srv/repo/eager.deb; offer /srv/repo/eager.deb"
    fleet.exec("bare-1", "sh", "-c", f"{REPOSITORY}{newer}{eager}{OFFERED}")
    shop.manifest["packages"] = ["eager"]
    done = shop.dynoctl("plan", code=1)
    assert "bare-1: packages cannot be installed before keepsake (1 to 2) is upgraded" in done.stderr
    assert "packages: {install: [eager], upgrade: needed}" in done.stderr
    shop.manifest["packages"] = {"install": ["eager"], "upgrade": "needed"}
    before = installed(fleet) - {"keepsake 1"} | {"keepsake 2"}

    text = shop.dynoctl("plan").stdout
    for name in ("ruby", "ruby-pg", "ruby-redis", "ruby-sinatra", "thin"):
        assert f"package.{name}" in text
    assert "package_upgrade.keepsake" in text and "package.eager" in text
    fleet.exec("bare-1", "touch", "/var/lib/dpkg/updates/0001")  # as a power cut leaves dpkg: it refuses to go on
    shop.apply()
    row = shop.ps()["web.1"]
    assert "web.1" in shop.get(row, "/")
    assert shop.get(row, "/visits").endswith("visits\n")
    shop.settled()
    after = installed(fleet)
    assert before < after, "nothing that was there was upgraded or removed"
    shop.destroy()
    assert installed(fleet) == after, "packages stay: somebody else may need them by now"
    fleet.exec("bare-1", "sh", "-c", CLEAN)


def test_apt_is_not_allowed_to_remove_or_upgrade(shop: Project, fleet: Any) -> None:
    """A package that conflicts with one that is there: nothing is installed, and the report says what apt wanted."""
    greedy = "deb greedy 1 'Conflicts: keepsake' /srv/repo/greedy.deb; offer /srv/repo/greedy.deb"
    fleet.exec("bare-1", "sh", "-c", f"{REPOSITORY}{greedy}{OFFERED}")
    before = installed(fleet)
    shop.manifest["packages"] = ["greedy"]
    done = shop.apply(code=1)
    assert "keepsake" in done.stdout
    assert installed(fleet) == before
    assert shop.ps() == {}
    fleet.exec("bare-1", "sh", "-c", CLEAN)


def test_the_repository_ends_with_its_lab(fleet: Any) -> None:
    name = f"{fleet.path.name}-b"
    try:
        subprocess.run(
            [DYNOCTL, "lab", "up", "--name", name, "--servers", "1", "--bare", "1"], check=True, capture_output=True
        )
        lab = labs.get(name)
        pid = lab.repository[0]
        assert processes.started(pid) == lab.repository[1]
        assert lab.bare == ["bare-1"]
        assert f"- {{name: bare-1, host: {lab.address('bare-1')}}}" in (lab.path / "inventory.yaml").read_text()
    finally:
        subprocess.run([DYNOCTL, "lab", "down", "--name", name], check=True, capture_output=True)
    eventually(lambda: processes.started(pid) == 0)
